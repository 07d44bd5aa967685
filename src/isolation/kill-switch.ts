/** Keys that an operator disabled. They stay disabled over swaps, evictions and registrations until they are enabled. */
import { KeyMap, type SlotKey } from '../slot-key.ts';

/** The kill switches of one runtime. */
export class KillSwitches {
  readonly #reasons = new KeyMap<string>();
  #engaged = false;

  /** Whether any key is disabled: the one look that a call takes while none is. */
  get engaged(): boolean {
    return this.#engaged;
  }

  /** Disables `key`; a second call replaces the reason. */
  disable(key: SlotKey, reason: string): void {
    this.#reasons.set(key, reason);
    this.#engaged = true;
  }

  /** Enables `key`; true if it was disabled. */
  enable(key: SlotKey): boolean {
    const was = this.#reasons.delete(key);
    this.#engaged = this.#reasons.size > 0;
    return was;
  }

  /** Why `key` is disabled; undefined while it is not. */
  reason(key: SlotKey): string | undefined {
    return this.#reasons.get(key);
  }

  /** Every disabled key with its reason. */
  entries(): [SlotKey, string][] {
    return [...this.#reasons.entries()];
  }
}
