/** Memory of an encoded request: all of it except the body, which stays in the memory of the caller. */
export interface Scratch {
  readonly bytes: Buffer;
  /** A view of the same memory. */
  readonly view: DataView;
  /** The start of the message in `bytes`. The codec does not use the bytes before it. */
  readonly start: number;
  /** Set by the encoder: `bytes[start, start + headLength)` precedes the body. */
  headLength: number;
  /** Set by the encoder: the bytes directly after the head follow the body. */
  tailLength: number;
  /** Set by the encoder: the body of the request; null for a message without one. */
  body: Uint8Array | null;
  /** Replaces `bytes` by a copy of at least `min` bytes. */
  grow(min: number): void;
}

/** A scratch buffer with its own memory. */
export class HeapScratch implements Scratch {
  bytes: Buffer;
  view: DataView;
  readonly start: number;
  headLength = 0;
  tailLength = 0;
  body: Uint8Array | null = null;

  constructor(capacity = 4096, start = 0) {
    this.bytes = Buffer.alloc(capacity);
    this.view = new DataView(this.bytes.buffer);
    this.start = start;
  }

  /** Returns a copy of the encoded message, including the body. */
  message(): Uint8Array {
    const { bytes, start, headLength, tailLength, body } = this;
    const bodyLength = body?.length ?? 0;
    const copy = new Uint8Array(headLength + bodyLength + tailLength);
    const tail = start + headLength;
    copy.set(bytes.subarray(start, tail));
    if (body !== null) copy.set(body, headLength);
    copy.set(bytes.subarray(tail, tail + tailLength), headLength + bodyLength);
    return copy;
  }

  grow(min: number): void {
    const larger = Buffer.alloc(Math.max(min, this.bytes.length * 2));
    larger.set(this.bytes);
    this.bytes = larger;
    this.view = new DataView(larger.buffer);
  }
}
