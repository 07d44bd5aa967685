/**
 * A map of bounded weight for results that are cheap to compute again. It holds two generations: when the young one is
 * full it becomes the old one, and entries that are not used until the next change are dropped.
 */
export class Memo<Key, Value> {
  readonly #limit: number;
  #young = new Map<Key, Value>();
  #old = new Map<Key, Value>();
  #weight = 0;

  /** Holds entries of at most `limit` in weight; one without a weight has 1. */
  constructor(limit: number) {
    this.#limit = limit / 2;
  }

  get(key: Key): Value | undefined {
    return this.#young.get(key) ?? this.#revive(key);
  }

  /** Adds or replaces an entry; replacing it adds its weight to that of the entry before. */
  set(key: Key, value: Value, weight = 1): void {
    if (this.#weight + weight > this.#limit) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#weight = 0;
    }
    this.#weight += weight;
    this.#young.set(key, value);
  }

  #revive(key: Key): Value | undefined {
    const value = this.#old.get(key);
    if (value !== undefined) this.set(key, value);
    return value;
  }
}
