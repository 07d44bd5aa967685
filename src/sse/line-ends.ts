/** Maximum number of lines of an event, or of all events that replace one. */
export const MAX_LINES = 100_000;

const LF = 0x0a;
const CR = 0x0d;
/** Up to this distance, a loop finds a line end faster than a call of a built-in function. */
const NEAR = 16;

/** Finds the line ends of a text in their order. A line ends with CRLF, LF or CR. */
export class LineEnds {
  readonly #bytes: Buffer;
  /** The last line feed and carriage return that were found; the length of the text after the last one. */
  #lf = -1;
  #cr = -1;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /** Returns the index of the first end from `at` on, which never decreases; the length of the text if there is none. */
  next(at: number): number {
    const bytes = this.#bytes;
    const near = Math.min(at + NEAR, bytes.length);
    for (let i = at; i < near; i++) if (bytes[i] === LF || bytes[i] === CR) return i;
    if (this.#lf < near) this.#lf = this.#find(LF, near);
    if (this.#cr < near) this.#cr = this.#find(CR, near);
    return Math.min(this.#lf, this.#cr);
  }

  #find(byte: number, at: number): number {
    const index = this.#bytes.indexOf(byte, at);
    return index === -1 ? this.#bytes.length : index;
  }
}
