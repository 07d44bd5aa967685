/**
 * Keys that an operator disabled. They stay disabled across swaps, evictions and registrations until they are enabled.
 */
import { KeyMap, type SlotKey } from '../slot-key.ts';

/** The kill switches of one runtime. */
export class KillSwitches {
  readonly #reasons = new KeyMap<string>();
  #engaged = false;

  /** Whether any key is disabled: the only check of a call while none is. */
  get engaged(): boolean {
    return this.#engaged;
  }

  /** Disables `key`, or replaces the reason. */
  disable(key: SlotKey, reason: string): void {
    this.#reasons.set(key, reason);
    this.#engaged = true;
  }

  /** Enables `key`; returns whether it was disabled. */
  enable(key: SlotKey): boolean {
    const was = this.#reasons.delete(key);
    this.#engaged = this.#reasons.size > 0;
    return was;
  }

  /** Returns the reason why `key` is disabled; undefined if it is enabled. */
  reason(key: SlotKey): string | undefined {
    return this.#reasons.get(key);
  }

  /** Returns every disabled key with its reason. */
  entries(): [SlotKey, string][] {
    return [...this.#reasons.entries()];
  }
}
