/** The part of the WebAssembly API that the suite uses; Node's types do not declare it. */
interface Wasm {
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object) => { readonly exports: Readonly<Record<string, unknown>> };
  Memory: new (limits: {
    initial: number;
    maximum: number;
  }) => {
    readonly buffer: ArrayBuffer;
    grow(pages: number): number;
  };
  RuntimeError: new () => Error;
  validate(bytes: Uint8Array): boolean;
}

/** V8's WebAssembly. */
export const v8Wasm = (globalThis as unknown as { WebAssembly: Wasm }).WebAssembly;
