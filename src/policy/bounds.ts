import type { HotEngineConfig } from '../config.ts';
import { MAX_DECODED_TYPE_BYTES } from '../sse/event.ts';
import type { DecodeLimits } from '../wire/decode.ts';

/** Limits of a plugin's answer. Every limit is inclusive. */
export type WireBounds = HotEngineConfig['wireBounds'];

const utf8 = new TextEncoder();

/** A filter's texts are decoded up to this size or `reasonBytes`: more than is read of a label. */
const FILTER_TEXT_BYTES = 4_096;
/** Other texts are decoded up to this size: the rest still exceeds the limits of URLs, methods, names and event types. */
const TEXT_BYTES = 256 * 1024;
/** Events that may replace one: an event costs about a microsecond of the event loop, also without data. */
const MAX_EVENTS = 10_000;
/** How far the events of an answer are decoded. */
export const EVENT_LIMITS: DecodeLimits = { maxElements: MAX_EVENTS, maxTextBytes: MAX_DECODED_TYPE_BYTES };
/** Elements that an answer may have in addition to those it needs, so that the rules about its lists report the excess. */
const SPARE_ELEMENTS = 1_000;

/** Returns how far the answer of a filter is decoded, so that a text of megabytes does not become a string. */
export function filterLimits(candidates: number, { reasonBytes }: Pick<WireBounds, 'reasonBytes'>): DecodeLimits {
  return { maxElements: candidates + SPARE_ELEMENTS, maxTextBytes: Math.max(FILTER_TEXT_BYTES, reasonBytes) };
}

/** Returns how far an answer with headers is decoded: of a shape, or of a transform of a response. */
export function headerLimits({
  maxHeaders,
  maxHeaderValueBytes,
}: Pick<WireBounds, 'maxHeaders' | 'maxHeaderValueBytes'>): DecodeLimits {
  const maxTextBytes = Math.max(TEXT_BYTES, maxHeaderValueBytes + 1);
  return { maxElements: maxHeaders + SPARE_ELEMENTS, maxTextBytes };
}

/** Returns the longest prefix of the text that fits in `cap` UTF-8 bytes without splitting a character. */
export function truncateUtf8(text: string, cap: number): string {
  // A code unit takes at most three bytes, so most texts need no count.
  if (text.length * 3 <= cap || Buffer.byteLength(text) <= cap) return text;
  // encodeInto stops before a character that does not fit completely. Not a slice, which would keep the text in memory.
  const prefix = Buffer.alloc(cap);
  return prefix.toString('utf8', 0, utf8.encodeInto(text, prefix).written);
}
