/** Maximum number of lines of an event, or of all events that replace one: a line of a byte costs a hundred. */
export const MAX_LINES = 100_000;

const LF = 0x0a;
const CR = 0x0d;

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
    if (this.#lf < at) this.#lf = this.#find(LF, at);
    if (this.#cr < at) this.#cr = this.#find(CR, at);
    return Math.min(this.#lf, this.#cr);
  }

  #find(byte: number, at: number): number {
    const index = this.#bytes.indexOf(byte, at);
    return index === -1 ? this.#bytes.length : index;
  }
}
