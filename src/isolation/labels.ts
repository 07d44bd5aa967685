/** The `plugin` labels of metrics in use: at most two names per slot, so that the number of series is bounded. */

/** The label of calls of a version whose slot was evicted or has had two other names. */
export const RETIRED_LABEL = '(retired)';

/** Counts the slots that use each label. */
export class Labels {
  readonly #slots = new Map<string, number>();

  /** Adds a use of `label` by a slot. */
  acquire(label: string): void {
    this.#slots.set(label, (this.#slots.get(label) ?? 0) + 1);
  }

  /** Removes a use of `label`. Returns true if no slot uses it, so that its series must be removed. */
  release(label: string): boolean {
    const left = (this.#slots.get(label) ?? 1) - 1;
    if (left > 0) this.#slots.set(label, left);
    else this.#slots.delete(label);
    return left === 0;
  }
}
