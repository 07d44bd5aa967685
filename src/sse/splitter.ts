import { LineEnds } from './line-ends.ts';

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

/** An event exceeds the limit. */
export const TOO_LARGE = Symbol('event too large');

/**
 * Splits a stream of server-sent events at the blank lines between them, however it is chunked. A line ends with CRLF,
 * LF or CR. Every byte is scanned once, and an event is concatenated once, when it is complete. An event does not wait
 * for the line feed that may follow a carriage return.
 */
export class SseSplitter {
  readonly #maxBytes: number;
  /** The parts of the incomplete block in earlier chunks. */
  #parts: Buffer[] = [];
  #partsBytes = 0;
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
  next(): Block | typeof TOO_LARGE | null {
    const chunk = this.#chunk;
    if (this.#afterCr && this.#at < chunk.length) {
      this.#afterCr = false;
      if (chunk[this.#at] === LF) {
        const endsBlock = this.#partsBytes === 0 && this.#from === this.#at;
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
      if (isBlank) {
        if (this.#partsBytes + end + 1 - this.#from > this.#maxBytes) return TOO_LARGE;
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
    if (this.#partsBytes + chunk.length - this.#from > this.#maxBytes) return TOO_LARGE;
    if (this.#from < chunk.length) {
      // Copied, because the writer may reuse the chunk after the write callback.
      this.#parts.push(Buffer.from(chunk.subarray(this.#from)));
      this.#partsBytes += chunk.length - this.#from;
    }
    this.feed(NOTHING);
    return null;
  }

  #take(end: number): Buffer {
    const last = this.#chunk.subarray(this.#from, end);
    this.#from = end;
    this.#at = end;
    if (this.#partsBytes === 0) return last;
    const whole = Buffer.concat([...this.#parts, last]);
    this.#parts = [];
    this.#partsBytes = 0;
    return whole;
  }
}
