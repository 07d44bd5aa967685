/**
 * A limit that principals share: a principal may hold as much as then remains unused. Alone it may hold half, with a
 * second one a third each, so that another one can always take some. `FairBudget` of the addon has an exception, which
 * this class does not need: there a principal that holds nothing may take everything that is unused.
 */
export class FairShares {
  readonly #limit: number;
  #total = 0;
  /** Amounts by principal; a principal without any has no entry. */
  readonly #held = new Map<string, number>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  /**
   * Takes an amount for a principal; `release` must follow. Returns false, and takes nothing, if the principal may not
   * hold it.
   */
  take(principal: string, amount: number): boolean {
    const held = (this.#held.get(principal) ?? 0) + amount;
    if (held > this.#limit - this.#total) return false;
    this.#total += amount;
    this.#held.set(principal, held);
    return true;
  }

  /** Returns what `take` took. */
  release(principal: string, amount: number): void {
    // An amount of 0 has no entry after another one was released.
    const held = (this.#held.get(principal) ?? 0) - amount;
    this.#total -= amount;
    if (held === 0) this.#held.delete(principal);
    else this.#held.set(principal, held);
  }
}
