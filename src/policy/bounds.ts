/** What a plugin's answer may weigh. Every bound is inclusive: equality passes. */
export interface WireBounds {
  /** Bytes of a whole answer archive, of filter, shape and transforms. */
  readonly outputBodyBytes: number;
  /** Header lines in a shape's answer, counted before any is dropped. */
  readonly maxHeaders: number;
  /** Bytes in one header value of a shape's answer. */
  readonly maxHeaderValueBytes: number;
  /** UTF-8 bytes kept of each reason that a filter gives. */
  readonly reasonBytes: number;
}

const utf8 = new TextEncoder();

/** The longest start of the text that fits in `cap` UTF-8 bytes without splitting a character. */
export function truncateUtf8(text: string, cap: number): string {
  // No code unit takes more than three bytes, so most texts need no count.
  if (text.length * 3 <= cap || Buffer.byteLength(text) <= cap) return text;
  // encodeInto stops before a character that would not fit whole.
  return text.slice(0, utf8.encodeInto(text, new Uint8Array(cap)).read);
}
