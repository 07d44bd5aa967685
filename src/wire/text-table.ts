/**
 * Table of short texts that recur in answers, such as header names and types of events, by their bytes. A text is returned only for
 * identical bytes. This saves creating, comparing and hashing a new string for each.
 */

/** Entries of the table. A text replaces another one in its entry. */
const SLOTS = 2_048;
const MIN_BYTES = 4;
const MAX_BYTES = 64;

interface Entry {
  readonly text: string;
  readonly length: number;
  /** The bytes in words of four. The last word ends at the end of the text, and may overlap with the previous word. */
  readonly words: Int32Array;
}

/** The most recent texts. */
export class TextTable {
  readonly #entries: (Entry | undefined)[] = new Array(SLOTS).fill(undefined);

  /** Returns the text whose bytes are `view[start, start + length)`; undefined if it is not in the table. */
  find(view: DataView, start: number, length: number): string | undefined {
    if (length < MIN_BYTES || length > MAX_BYTES) return undefined;
    const entry = this.#entries[slotOf(view, start, length)];
    if (entry === undefined || entry.length !== length) return undefined;
    const { words } = entry;
    const last = words.length - 1;
    for (let i = 0; i < last; i++) if (view.getInt32(start + 4 * i, true) !== words[i]) return undefined;
    return view.getInt32(start + length - 4, true) === words[last] ? entry.text : undefined;
  }

  /** Stores the text of these bytes. */
  add(view: DataView, start: number, length: number, text: string): void {
    if (length < MIN_BYTES || length > MAX_BYTES) return;
    const words = new Int32Array((length + 3) >> 2);
    for (let i = 0; i < words.length; i++) words[i] = view.getInt32(start + Math.min(4 * i, length - 4), true);
    this.#entries[slotOf(view, start, length)] = { text, length, words };
  }
}

function slotOf(view: DataView, start: number, length: number): number {
  const first = view.getInt32(start, true);
  const last = view.getInt32(start + length - 4, true);
  const hash = Math.imul(first ^ Math.imul(last, 0x9e3779b1) ^ length, 0x85ebca6b);
  return (hash >>> 20) & (SLOTS - 1);
}
