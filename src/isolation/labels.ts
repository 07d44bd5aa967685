/** The `plugin` labels of metrics in use: at most two names per slot, so that the number of series is bounded. */

/** The label of calls of a version whose slot was evicted or has had two other names. */
export const RETIRED_LABEL = '(retired)';

/** Counts the users of each label: the slots of a runtime, or the sinks of a registry. */
export class Labels {
  readonly #users = new Map<string, number>();

  /** Adds a user of `label`. */
  acquire(label: string): void {
    this.#users.set(label, (this.#users.get(label) ?? 0) + 1);
  }

  /** Removes a user of `label`. Returns true if it was the last one, so that its series must be removed. */
  release(label: string): boolean {
    const left = (this.#users.get(label) ?? 1) - 1;
    if (left > 0) this.#users.set(label, left);
    else this.#users.delete(label);
    return left === 0;
  }
}
