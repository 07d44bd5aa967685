import type { HotEngineConfig } from '../config.ts';

/** Limits of a plugin's answer. Every limit is inclusive. */
export type WireBounds = HotEngineConfig['wireBounds'];

const utf8 = new TextEncoder();

/** Returns the longest prefix of the text that fits in `cap` UTF-8 bytes without splitting a character. */
export function truncateUtf8(text: string, cap: number): string {
  // A code unit takes at most three bytes, so most texts need no count.
  if (text.length * 3 <= cap || Buffer.byteLength(text) <= cap) return text;
  // encodeInto stops before a character that does not fit completely.
  return text.slice(0, utf8.encodeInto(text, new Uint8Array(cap)).read);
}
