/** Modules with unique content, which are in no cache. */
import { append, customSection } from './wat.ts';

let made = 0;

/** Appends a unique custom section to the module, so that its hash differs from all others. */
export function unique(bytes: Uint8Array): Uint8Array {
  return append(bytes, customSection(`unique-${process.pid}-${made++}`, new Uint8Array(0)));
}
