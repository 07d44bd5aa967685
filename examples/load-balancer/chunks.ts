/** The chunks of a body that is kept in memory. */

/** Chunks that are kept as they are. Bodies up to the default limit have fewer, unless their chunks are small. */
const MAX_PARTS = 1_024;
const NO_BYTES = Buffer.alloc(0);

/**
 * Collects chunks. Every 1,024 of them are copied into one, because a body may arrive in chunks of one byte, and an
 * object for each would take 200 times as much memory as its bytes.
 */
export class Chunks {
  #size = 0;
  #merged: Buffer[] = [];
  #parts: Buffer[] = [];

  /** The number of bytes. */
  get size(): number {
    return this.#size;
  }

  add(chunk: Buffer): void {
    this.#size += chunk.length;
    if (this.#parts.push(chunk) < MAX_PARTS) return;
    this.#merged.push(Buffer.concat(this.#parts));
    this.#parts = [];
  }

  /** Returns all bytes and drops them. One chunk is returned as it is. */
  take(): Buffer {
    if (this.#parts.length < 2 && this.#merged.length === 0) {
      this.#size = 0;
      return this.#parts.pop() ?? NO_BYTES;
    }
    const all = Buffer.concat([...this.#merged, ...this.#parts], this.#size);
    this.clear();
    return all;
  }

  /** Drops all bytes. */
  clear(): void {
    this.#size = 0;
    this.#merged = [];
    this.#parts = [];
  }
}
