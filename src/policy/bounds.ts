import type { HotEngineConfig } from '../config.ts';

/** Limits of a plugin's answer. Every limit is inclusive. */
export type WireBounds = HotEngineConfig['wireBounds'];

const utf8 = new TextEncoder();

/** A filter's texts are decoded up to this size or `reasonBytes`: more than is read of a label. */
const FILTER_TEXT_BYTES = 4_096;
/** Other texts are decoded up to this size: the rest still exceeds the limits of URLs, methods, names and event types. */
const TEXT_BYTES = 256 * 1024;
/** Events that may replace one: an event costs about a microsecond of the event loop, also without data. */
export const MAX_EVENTS = 10_000;
/** Elements that an answer may have in addition to those it needs, so that the rules about its lists report the excess. */
const SPARE_ELEMENTS = 1_000;

/** Returns the size to which a filter's texts are decoded, so that one of megabytes does not become a string. */
export function filterTextBytes({ reasonBytes }: Pick<WireBounds, 'reasonBytes'>): number {
  return Math.max(FILTER_TEXT_BYTES, reasonBytes);
}

/** Returns the size to which the texts and header values of a shape or a transform are decoded. */
export function shapeTextBytes({ maxHeaderValueBytes }: Pick<WireBounds, 'maxHeaderValueBytes'>): number {
  return Math.max(TEXT_BYTES, maxHeaderValueBytes + 1);
}

/** Returns how many elements are decoded of an answer that needs at most `needed`. */
export function maxElements(needed: number): number {
  return needed + SPARE_ELEMENTS;
}

/** Returns the longest prefix of the text that fits in `cap` UTF-8 bytes without splitting a character. */
export function truncateUtf8(text: string, cap: number): string {
  // A code unit takes at most three bytes, so most texts need no count.
  if (text.length * 3 <= cap || Buffer.byteLength(text) <= cap) return text;
  // encodeInto stops before a character that does not fit completely. Not a slice, which would keep the text in memory.
  const prefix = Buffer.alloc(cap);
  return prefix.toString('utf8', 0, utf8.encodeInto(text, prefix).written);
}
