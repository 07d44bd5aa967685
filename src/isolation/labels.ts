/** The `plugin` labels of metrics that are in use: two names per slot at most, so that series are bounded by slots. */

/** The label of calls of a version whose slot was evicted or has had two other names since. */
export const RETIRED_LABEL = '(retired)';

/** Counts how many slots use each label. */
export class Labels {
  readonly #slots = new Map<string, number>();

  /** A slot begins to use `label`. */
  acquire(label: string): void {
    this.#slots.set(label, (this.#slots.get(label) ?? 0) + 1);
  }

  /** A slot no longer uses `label`. True if none does: its series are to be removed. */
  release(label: string): boolean {
    const left = (this.#slots.get(label) ?? 1) - 1;
    if (left > 0) this.#slots.set(label, left);
    else this.#slots.delete(label);
    return left === 0;
  }
}
