/**
 * A map of bounded weight for results that are cheap to compute again. It holds two generations: when the young one is
 * full it becomes the old one, and entries that are not used until the next change are dropped.
 */
export class Memo<Key, Value> {
  readonly #limit: number;
  #young = new Map<Key, Entry<Value>>();
  #old = new Map<Key, Entry<Value>>();
  /** Of the young generation. */
  #weight = 0;

  /** Holds entries of at most `limit` in weight, and one that is heavier than the half. The default weight is 1. */
  constructor(limit: number) {
    this.#limit = limit / 2;
  }

  get(key: Key): Value | undefined {
    return (this.#young.get(key) ?? this.#revive(key))?.value;
  }

  /** Adds or replaces an entry. */
  set(key: Key, value: Value, weight = 1): void {
    this.#put(key, { value, weight });
  }

  #revive(key: Key): Entry<Value> | undefined {
    const entry = this.#old.get(key);
    if (entry !== undefined) this.#put(key, entry);
    return entry;
  }

  #put(key: Key, entry: Entry<Value>): void {
    const weight = this.#weight + entry.weight - (this.#young.get(key)?.weight ?? 0);
    if (weight > this.#limit) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#weight = entry.weight;
    } else this.#weight = weight;
    this.#young.set(key, entry);
  }
}

interface Entry<Value> {
  readonly value: Value;
  readonly weight: number;
}
