/** Buffers that are resized or detached while views of them exist. */

/** ES2024, which the compiler's library does not have yet. */
export type Resizable = ArrayBuffer & { resize(bytes: number): void };

/** Creates a buffer of `bytes` bytes that can be resized up to `maxBytes`. */
export function resizable(bytes: number, maxBytes: number): Resizable {
  return Reflect.construct(ArrayBuffer, [bytes, { maxByteLength: maxBytes }]) as Resizable;
}

/** Detaches the buffer of a view. */
export function detach(view: Uint8Array): void {
  structuredClone(view.buffer, { transfer: [view.buffer as ArrayBuffer] });
}
