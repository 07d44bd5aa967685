/** Where an encoded request goes: leased memory for all of it but the body, which stays where the caller has it. */
export interface Scratch {
  readonly bytes: Uint8Array;
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

/** A scratch of its own memory, for tools and tests. */
export class HeapScratch implements Scratch {
  bytes: Uint8Array;
  readonly start: number;
  headLength = 0;
  tailLength = 0;
  body: Uint8Array | null = null;

  constructor(capacity = 4096, start = 0) {
    this.bytes = new Uint8Array(capacity);
    this.start = start;
  }

  grow(min: number): void {
    const larger = new Uint8Array(Math.max(min, this.bytes.length * 2));
    larger.set(this.bytes);
    this.bytes = larger;
  }
}
