/** Buffers that go away under their views. */

/** ES2024, which the compiler's library does not have yet. */
export type Resizable = ArrayBuffer & { resize(bytes: number): void };

/** A buffer of `bytes` that may be resized up to `most`. */
export function resizable(bytes: number, most: number): Resizable {
  return Reflect.construct(ArrayBuffer, [bytes, { maxByteLength: most }]) as Resizable;
}

/** Gives the memory of a view away. */
export function detach(view: Uint8Array): void {
  structuredClone(view.buffer, { transfer: [view.buffer as ArrayBuffer] });
}
