/** Modules of a content that nobody has compiled before. */
import { append, customSection } from './wat.ts';

let made = 0;

/** The module with a section that no other module has, so that its hash differs from all others. */
export function unique(bytes: Uint8Array): Uint8Array {
  return append(bytes, customSection(`unique-${process.pid}-${made++}`, new Uint8Array(0)));
}
