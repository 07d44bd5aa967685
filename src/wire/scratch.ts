/** Where an encoded request goes: leased memory for all of it but the body, which stays where the caller has it. */
export interface Scratch {
  readonly bytes: Buffer;
  /** Over the same memory. */
  readonly view: DataView;
  /** Where the message begins in `bytes`; what lies before it is not the codec's. */
  readonly start: number;
  /** Set by the encoder: `bytes[start, start + headLength)` goes before the body. */
  headLength: number;
  /** Set by the encoder: the bytes directly behind the head go after the body. */
  tailLength: number;
  /** Set by the encoder: the request's body itself, or null for a message that has none. */
  body: Uint8Array | null;
  /** Replaces `bytes` by a copy of at least `min` bytes. */
  grow(min: number): void;
}

/** A scratch of its own memory. */
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

  grow(min: number): void {
    const larger = Buffer.alloc(Math.max(min, this.bytes.length * 2));
    larger.set(this.bytes);
    this.bytes = larger;
    this.view = new DataView(larger.buffer);
  }
}
