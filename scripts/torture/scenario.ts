/** What every scenario of the torture suite is given, and what it reports. */
import { Random } from '../../test/wire/fuzz/random.ts';

/** One line of the summary. `ok` is null for a figure that has no target. */
export interface Figure {
  readonly name: string;
  readonly value: string;
  readonly ok: boolean | null;
}

/** One way of tormenting the runtime. It runs in a process of its own, whose end is part of the verdict. */
export interface Scenario {
  /** What is counted. */
  readonly unit: string;
  /** How many of them make a full run. */
  readonly target: number;
  /** Throws where a promise is broken. */
  run(torment: Torment): Promise<Figure[]>;
}

/** The bounds of one run, and its randomness. */
export class Torment {
  readonly random: Random;
  readonly seed: number;
  readonly target: number;
  readonly #ends: number;
  readonly #tell: (done: number) => void;
  done = 0;

  constructor(seed: number, target: number, seconds: number, tell: (done: number) => void) {
    this.seed = seed;
    this.random = new Random(seed);
    this.target = target;
    this.#ends = performance.now() + seconds * 1_000;
    this.#tell = tell;
  }

  /** Whether there is anything left to do: units and time. */
  get goesOn(): boolean {
    return this.done < this.target && performance.now() < this.#ends;
  }

  /** Whether the whole run was done. */
  get full(): boolean {
    return this.done >= this.target;
  }

  /** Counts what was done. */
  count(units: number): void {
    this.done += units;
    this.#tell(this.done);
  }
}

/** A broken promise. */
export class Broken extends Error {}

/** Throws unless the promise is kept. */
export function promised(kept: boolean, what: () => string): void {
  if (!kept) throw new Broken(what());
}

/** A whole number for people. */
export const grouped = (value: number): string => Math.round(value).toLocaleString('en');
