/** The part of the WebAssembly API that is used here; Node's types omit it. */
interface Wasm {
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object) => { readonly exports: { read(): void } };
  RuntimeError: new () => Error;
}

const wasm = (globalThis as unknown as { WebAssembly: Wasm }).WebAssembly;
/** `(module (memory 1) (func (export "read") (drop (i64.load (i32.const -16)))))` */
const READS_OUTSIDE = '0061736d0100000001040160000003020100050301000107080104726561640000' + '0a0a01080041702903001a0b';
const { read } = new wasm.Instance(new wasm.Module(Buffer.from(READS_OUTSIDE, 'hex'))).exports;

/** Makes an out-of-bounds access in V8's own wasm, which V8 handles as a signal. Throws if it does not trap. */
export function trapInV8(): void {
  try {
    read();
  } catch (error) {
    if (error instanceof wasm.RuntimeError) return;
    throw error;
  }
  throw new Error('V8 did not trap');
}
