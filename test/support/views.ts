/** Buffers that are resized or detached while views of them exist. */

/** The compiler's library of ES2024 is not used, because it also declares `transfer`, which Node 20 does not have. */
type Resizable = ArrayBuffer & { resize(bytes: number): void };

/** Creates a buffer of `bytes` bytes that can be resized up to `maxBytes`. */
export function resizable(bytes: number, maxBytes: number): Resizable {
  return Reflect.construct(ArrayBuffer, [bytes, { maxByteLength: maxBytes }]) as Resizable;
}

/** Detaches the buffer of a view. */
export function detach(view: Uint8Array): void {
  structuredClone(view.buffer, { transfer: [view.buffer as ArrayBuffer] });
}
