/** Pseudo-random numbers from a seed (SplitMix32): the same seed, the same inputs. */
export class Random {
  private state: number;

  constructor(seed: number, stream = 0) {
    this.state = Math.imul(seed | 0, 0x9e37_79b1) ^ Math.imul(stream | 0, 0x85eb_ca6b);
    this.next();
  }

  /** A u32. */
  next(): number {
    this.state = (this.state + 0x9e37_79b9) | 0;
    let mixed = this.state;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0_aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a_2d97);
    return (mixed ^ (mixed >>> 15)) >>> 0;
  }

  /** An integer from 0 to `bound - 1`. */
  below(bound: number): number {
    return this.next() % bound;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
}
