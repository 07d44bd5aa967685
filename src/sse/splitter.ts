import { LineEnds, MAX_LINES } from './line-ends.ts';

const LF = 0x0a;
const CR = 0x0d;
const NOTHING = Buffer.alloc(0);
const ONE_LF = Buffer.from('\n');

/** A part of the stream. The concatenated parts equal the stream. */
export interface Block {
  /** The bytes from the end of the previous block up to and including the blank line that ends this one. */
  readonly bytes: Buffer;
  /** Whether this is the line feed of a CRLF whose carriage return ended the previous block, in an earlier chunk. */
  readonly belongsToPrevious: boolean;
}

/** An event exceeds `maxBytes`. */
export const TOO_LARGE = Symbol('event too large');
/** An event exceeds `MAX_LINES`. */
export const TOO_MANY_LINES = Symbol('event with too many lines');

/**
 * Splits a stream of server-sent events at the blank lines between them, however it is chunked. A line ends with CRLF,
 * LF or CR. Every byte is scanned once. An event does not wait for the line feed that may follow a carriage return.
 */
export class SseSplitter {
  readonly #maxBytes: number;
  /** The part of the incomplete block in earlier chunks: the first `#keptBytes` of a buffer that grows. */
  #kept: Buffer = NOTHING;
  #keptBytes = 0;
  /** Complete lines of the current block. */
  #lines = 0;
  #chunk: Buffer = NOTHING;
  /** The start of the current block in the chunk, and the end of the scanned bytes. */
  #from = 0;
  #at = 0;
  #lineEnds = new LineEnds(NOTHING);
  #atLineStart = true;
  #afterCr = false;

  /** `maxBytes` limits one block, excluding its final line feed. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Sets the next chunk, after `next` has returned all blocks of the previous one. */
  feed(chunk: Uint8Array): void {
    this.#chunk = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    this.#from = 0;
    this.#at = 0;
    this.#lineEnds = new LineEnds(this.#chunk);
  }

  /** Returns the next complete block; null if another chunk is required. */
  next(): Block | typeof TOO_LARGE | typeof TOO_MANY_LINES | null {
    const chunk = this.#chunk;
    if (this.#afterCr && this.#at < chunk.length) {
      this.#afterCr = false;
      if (chunk[this.#at] === LF) {
        const endsBlock = this.#keptBytes === 0 && this.#from === this.#at;
        this.#at++;
        if (endsBlock) {
          this.#from = this.#at;
          return { bytes: ONE_LF, belongsToPrevious: true };
        }
      }
    }
    for (;;) {
      const end = this.#lineEnds.next(this.#at);
      if (end === chunk.length) return this.#keepRest();
      const isBlank = this.#atLineStart && end === this.#at;
      this.#at = end + 1;
      if (chunk[end] === CR) {
        if (this.#at === chunk.length) this.#afterCr = true;
        else if (chunk[this.#at] === LF) this.#at++;
      }
      this.#atLineStart = true;
      if (++this.#lines > MAX_LINES) return TOO_MANY_LINES;
      if (isBlank) {
        if (this.#keptBytes + end + 1 - this.#from > this.#maxBytes) return TOO_LARGE;
        return { bytes: this.#take(this.#at), belongsToPrevious: false };
      }
    }
  }

  /** Returns all bytes that `next` has not returned, unchanged. */
  rest(): Buffer {
    return this.#take(this.#chunk.length);
  }

  #keepRest(): typeof TOO_LARGE | null {
    const chunk = this.#chunk;
    if (this.#at < chunk.length) this.#atLineStart = false;
    if (this.#keptBytes + chunk.length - this.#from > this.#maxBytes) return TOO_LARGE;
    // Copied, because the writer may reuse the chunk after the write callback.
    this.#keep(chunk.subarray(this.#from));
    this.feed(NOTHING);
    return null;
  }

  /** Appends a part of the incomplete block. One buffer, because a block may arrive in millions of chunks. */
  #keep(part: Buffer): void {
    const bytes = this.#keptBytes + part.length;
    if (bytes > this.#kept.length) {
      const larger = Buffer.allocUnsafe(Math.max(bytes, 2 * this.#kept.length));
      this.#kept.copy(larger, 0, 0, this.#keptBytes);
      this.#kept = larger;
    }
    part.copy(this.#kept, this.#keptBytes);
    this.#keptBytes = bytes;
  }

  #take(end: number): Buffer {
    const last = this.#chunk.subarray(this.#from, end);
    this.#from = end;
    this.#at = end;
    this.#lines = 0;
    if (this.#keptBytes === 0) return last;
    this.#keep(last);
    const whole = this.#kept.subarray(0, this.#keptBytes);
    this.#kept = NOTHING;
    this.#keptBytes = 0;
    return whole;
  }
}
