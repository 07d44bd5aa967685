const LF = 0x0a;
const CR = 0x0d;
const NOTHING = Buffer.alloc(0);
const ONE_LF = Buffer.from('\n');

/** A piece of the stream. Pieces joined give the stream back byte for byte. */
export interface Block {
  /** From the end of the block before up to and with the blank line that ends this one. */
  readonly bytes: Buffer;
  /** The line feed of a CRLF whose carriage return ended the block before, in an earlier chunk. */
  readonly belongsToPrevious: boolean;
}

/** The splitter met an event that is larger than it may be. */
export const TOO_LARGE = Symbol('event too large');

/**
 * Cuts a stream of server-sent events at the blank lines between them, wherever its chunks end. A line ends with CRLF,
 * LF or CR. Every byte is looked at once and an event is joined once, when it is whole; nothing waits for a line feed
 * that may or may not follow a carriage return.
 */
export class SseSplitter {
  readonly #maxBytes: number;
  /** What earlier chunks hold of the block that is not whole yet. */
  #parts: Buffer[] = [];
  #partsBytes = 0;
  #chunk: Buffer = NOTHING;
  /** Where the current block begins in the chunk, and up to where it was looked at. */
  #from = 0;
  #at = 0;
  /** The next line feed and carriage return from `#at` on; past the chunk where there is none. */
  #lf = 0;
  #cr = 0;
  #atLineStart = true;
  #afterCr = false;

  /** `maxBytes` bounds one block, its final line feed not counted. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Takes the next chunk, once `next` has given all blocks of the one before. */
  feed(chunk: Uint8Array): void {
    this.#chunk = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    this.#from = 0;
    this.#at = 0;
    this.#lf = -1;
    this.#cr = -1;
  }

  /** The next whole block, `null` when more has to be fed. */
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
      const end = this.#nextLineEnd();
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

  /** Everything that `next` has not given yet, as it came. */
  rest(): Buffer {
    return this.#take(this.#chunk.length);
  }

  #nextLineEnd(): number {
    const chunk = this.#chunk;
    if (this.#lf < this.#at) this.#lf = found(chunk.indexOf(LF, this.#at), chunk);
    if (this.#cr < this.#at) this.#cr = found(chunk.indexOf(CR, this.#at), chunk);
    return Math.min(this.#lf, this.#cr);
  }

  #keepRest(): typeof TOO_LARGE | null {
    const chunk = this.#chunk;
    if (this.#at < chunk.length) this.#atLineStart = false;
    if (this.#partsBytes + chunk.length - this.#from > this.#maxBytes) return TOO_LARGE;
    if (this.#from < chunk.length) {
      // The chunk is its writer's again once it was taken.
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

function found(index: number, chunk: Buffer): number {
  return index === -1 ? chunk.length : index;
}
