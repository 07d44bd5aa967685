/**
 * A limit that principals share: a principal may hold as much as then remains unused. Alone it may hold half, with a
 * second one a third each, so that another one can always take some.
 */
export class FairShares {
  readonly #limit: number;
  #total = 0;
  /** Amounts by principal; a principal without any has no entry. */
  readonly #held = new Map<string, number>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Whether a principal may take an amount. */
  allows(principal: string, amount: number): boolean {
    return (this.#held.get(principal) ?? 0) + amount <= this.#limit - this.#total;
  }

  /** Takes an amount, which must be released. Returns false, and takes nothing, if the principal may not hold it. */
  take(principal: string, amount: number): boolean {
    if (!this.allows(principal, amount)) return false;
    this.#total += amount;
    this.#held.set(principal, (this.#held.get(principal) ?? 0) + amount);
    return true;
  }

  /** Returns what `take` took. */
  release(principal: string, amount: number): void {
    const held = (this.#held.get(principal) ?? 0) - amount;
    this.#total -= amount;
    if (held > 0) this.#held.set(principal, held);
    else this.#held.delete(principal);
  }
}

/** What one request holds of a shared amount. */
export class Holding {
  readonly #shares: FairShares;
  readonly #principal: string;
  #amount = 0;
  #hasEnded = false;

  constructor(shares: FairShares, principal: string) {
    this.#shares = shares;
    this.#principal = principal;
  }

  /** Takes an amount. Returns false, and takes nothing, if the limit does not allow it, and after `releaseAll`. */
  take(amount: number): boolean {
    if (this.#hasEnded || !this.#shares.take(this.#principal, amount)) return false;
    this.#amount += amount;
    return true;
  }

  /** Returns a part of what `take` took; nothing after `releaseAll`. */
  release(amount: number): void {
    const held = Math.min(amount, this.#amount);
    this.#shares.release(this.#principal, held);
    this.#amount -= held;
  }

  /** Returns everything that `take` took, at the end of the request. */
  releaseAll(): void {
    this.#hasEnded = true;
    this.release(this.#amount);
  }
}
