/** Loads the built guests of test/plugins. */
import { readFileSync } from 'node:fs';

const loaded = new Map<string, Buffer>();

/** Returns the bytes of a guest by its name. Repeated calls return the same buffer. */
export function plugin(name: string): Buffer {
  let bytes = loaded.get(name);
  if (bytes === undefined) {
    bytes = readFileSync(new URL(`../plugins/wasm/${name}.wasm`, import.meta.url));
    loaded.set(name, bytes);
  }
  return bytes;
}
