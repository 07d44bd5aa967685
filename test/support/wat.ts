/** Assembles modules from the text format and builds custom sections. */
import createWabt from 'wabt';

const wabt = await createWabt();

/** Proposals that the assembler disables by default. Tests show which of them the engine accepts. */
const FEATURES = {
  exceptions: true,
  threads: true,
  function_references: true,
  tail_call: true,
  gc: true,
  memory64: true,
  extended_const: true,
  relaxed_simd: true,
  multi_memory: true,
};

/** Assembles the text of a module without validating it. */
export function assemble(text: string): Uint8Array {
  const module = wabt.parseWat('module.wat', text, FEATURES);
  try {
    return new Uint8Array(module.toBinary({}).buffer);
  } finally {
    module.destroy();
  }
}

/** Encodes an unsigned number in LEB128. */
export function leb(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 127) {
    bytes.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  return [...bytes, rest];
}

/** Builds a section of a module from its id and its contents. */
export function section(id: number, contents: Uint8Array | readonly number[]): Uint8Array {
  return Uint8Array.from([id, ...leb(contents.length), ...contents]);
}

/** A custom section. */
export function customSection(name: string, data: Uint8Array): Uint8Array {
  const label = Buffer.from(name);
  return section(0, Buffer.concat([Uint8Array.from(leb(label.length)), label, data]));
}

/** Appends sections to the module. */
export function append(wasm: Uint8Array, ...sections: Uint8Array[]): Uint8Array {
  return Buffer.concat([wasm, ...sections]);
}

/** Inserts sections directly after the module's header. */
export function prepend(wasm: Uint8Array, ...sections: Uint8Array[]): Uint8Array {
  return Buffer.concat([wasm.subarray(0, 8), ...sections, wasm.subarray(8)]);
}
