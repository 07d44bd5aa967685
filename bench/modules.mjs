// The measured guests, with a distinct module for each principal.
import { readFileSync } from 'node:fs';

/**
 * How the guests of a column were linked. `plain` has the linker's defaults and the profile of test/plugins; the others
 * are the same sources with one setting changed (scripts/build-plugins.mjs).
 */
export const GUESTS = ['plain', 'default-profile', 'maximum', 'initial-memory', 'static-data', 'simd'];

/** The bytes of a plugin as linked for `guests`, for one principal: equal code with a distinct hash. */
export function moduleOf(plugin, guests, principal) {
  const file = guests === 'plain' ? `../test/plugins/wasm/${plugin}.wasm` : `guests/${plugin}-${guests}.wasm`;
  return Buffer.concat([readFileSync(new URL(file, import.meta.url)), customSection(`principal-${principal}`)]);
}

/** A custom section without content. Names are shorter than 126 bytes, so that each length is one byte of LEB128. */
function customSection(name) {
  return Buffer.concat([Buffer.from([0, name.length + 1, name.length]), Buffer.from(name)]);
}
