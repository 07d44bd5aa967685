/**
 * Short texts that come again in one answer after the other, such as ids and header names, found by their bytes. A text is
 * returned only for its very bytes. That spares V8 a new string for each, and the comparisons and hashes of it.
 */

/** Slots of the table; a text replaces what another one left in its slot. */
const SLOTS = 2_048;
const MIN_BYTES = 4;
const MAX_BYTES = 64;

interface Entry {
  readonly text: string;
  readonly length: number;
  /** The bytes in words of four; the last word ends where the text ends, and so may overlap with the one before. */
  readonly words: Int32Array;
}

/** The texts that were seen last. */
export class TextTable {
  readonly #entries: (Entry | undefined)[] = new Array(SLOTS).fill(undefined);

  /** The text whose bytes are `view[start, start + length)`, if it is known. */
  find(view: DataView, start: number, length: number): string | undefined {
    if (length < MIN_BYTES || length > MAX_BYTES) return undefined;
    const entry = this.#entries[slotOf(view, start, length)];
    if (entry === undefined || entry.length !== length) return undefined;
    const { words } = entry;
    const last = words.length - 1;
    for (let i = 0; i < last; i++) if (view.getInt32(start + 4 * i, true) !== words[i]) return undefined;
    return view.getInt32(start + length - 4, true) === words[last] ? entry.text : undefined;
  }

  /** Remembers the text of these bytes. */
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
