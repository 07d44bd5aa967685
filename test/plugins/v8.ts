/**
 * Calls guests on V8's own WebAssembly: enough to see what a guest does, without the engine
 * that the package is about.
 */

import { readFileSync } from 'node:fs';

/** The part of WebAssembly that is used here; Node's types leave it out. */
interface Wasm {
  Module: {
    new (bytes: Uint8Array): object;
    customSections(module: object, name: string): ArrayBuffer[];
    imports(module: object): { name: string; kind: string }[];
    exports(module: object): { name: string; kind: string }[];
  };
  Instance: new (module: object) => { exports: Exports };
}
type Exports = { memory: { buffer: ArrayBuffer } } & Record<string, (...args: number[]) => number | bigint>;

const wasm = (globalThis as unknown as { WebAssembly: Wasm }).WebAssembly;
/** V8's module class: compilation, sections, imports and exports. */
export const Module = wasm.Module;

/** The bytes of a guest of wasm/ by its name. */
export function guestBytes(name: string): Uint8Array {
  return readFileSync(new URL(`wasm/${name}.wasm`, import.meta.url));
}

/** The bytes of the last custom section of that name. */
export function section(name: string, section: string): Buffer {
  return Buffer.from(Module.customSections(new Module(guestBytes(name)), section).at(-1)!);
}

/** Calls of one instance of a guest: what `cc_lb_<hook>` answers. They throw what V8 throws where it traps. */
export function instance(name: string): (hook: string, request: Uint8Array) => Uint8Array {
  const { exports } = new wasm.Instance(new Module(guestBytes(name)));
  return (hook, request) => {
    const input = Number(exports.cc_lb_alloc!(request.length, 16));
    new Uint8Array(exports.memory.buffer).set(request, input);
    const packed = exports[`cc_lb_${hook}`]!(input, request.length) as bigint;
    const pointer = Number(BigInt.asUintN(32, packed >> 32n));
    return new Uint8Array(exports.memory.buffer).slice(pointer, pointer + Number(BigInt.asUintN(32, packed)));
  };
}

/** A call of a fresh instance. */
export function call(name: string, hook: string, request: Uint8Array): Uint8Array {
  return instance(name)(hook, request);
}
