/**
 * Finds the ends of values in a JSON text without parsing them: a string is skipped by searching its closing quote.
 * Each function returns the index after the skipped value, and -1 if the text ends first. The JSON is not validated.
 */

/** A range of bytes. */
export type Span = readonly [start: number, end: number];

/** An object may have as many keys. A request has a few, and a body may have millions. */
const MAX_KEYS = 10_000;
/** A search is faster than a loop over the bytes, unless a string consists of escaped quotes. */
const MAX_SEARCHES = 10_000;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const COMMA = 0x2c;
const OBJECT = 0x7b;
const OBJECT_END = 0x7d;
const LIST = 0x5b;
const LIST_END = 0x5d;

/** Skips space, tab and line breaks. */
export function skipSpace(text: Buffer, from: number): number {
  let at = from;
  for (; at < text.length; at++) {
    const byte = text[at]!;
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) break;
  }
  return at;
}

/** Skips a string; `from` is its opening quote. */
export function endOfString(text: Buffer, from: number): number {
  let at = from + 1;
  for (let searches = 0; searches < MAX_SEARCHES; searches++) {
    const quote = text.indexOf(QUOTE, at);
    if (quote < 0) return -1;
    let escapes = 0;
    while (text[quote - 1 - escapes] === BACKSLASH) escapes++;
    at = quote + 1;
    if (escapes % 2 === 0) return at;
  }
  for (; at < text.length; at++) {
    if (text[at] === BACKSLASH) at++;
    else if (text[at] === QUOTE) return at + 1;
  }
  return -1;
}

/** Skips a value; `from` is its first byte. */
export function endOfValue(text: Buffer, from: number): number {
  let depth = 0;
  let at = from;
  while (at < text.length) {
    switch (text[at]) {
      case QUOTE:
        at = endOfString(text, at);
        if (at < 0) return -1;
        if (depth === 0) return at;
        continue;
      case OBJECT:
      case LIST:
        depth++;
        break;
      case OBJECT_END:
      case LIST_END:
        if (depth === 0) return at;
        if (--depth === 0) return at + 1;
        break;
      case COMMA:
        if (depth === 0) return at;
        break;
    }
    at++;
  }
  return depth === 0 && at > from ? at : -1;
}

/** Returns the spans of an object's values for these keys; null for other values, and for an object with too many keys. */
export function fieldsOf(body: Buffer, keys: readonly string[]): Map<string, Span> | null {
  let at = skipSpace(body, 0);
  if (body[at] !== OBJECT) return null;
  const fields = new Map<string, Span>();
  for (let count = 0; count < MAX_KEYS; count++) {
    at = skipSpace(body, at + 1);
    if (body[at] === OBJECT_END) return fields;
    if (body[at] !== QUOTE) return null;
    const endOfKey = endOfString(body, at);
    if (endOfKey < 0) return null;
    const key = keyIn(body, at + 1, endOfKey - 1, keys);
    at = skipSpace(body, endOfKey);
    if (body[at] !== COLON) return null;
    const start = skipSpace(body, at + 1);
    const end = endOfValue(body, start);
    if (end < 0) return null;
    if (key !== undefined) fields.set(key, [start, end]);
    at = skipSpace(body, end);
    if (body[at] === OBJECT_END) return fields;
    if (body[at] !== COMMA) return null;
  }
  return null;
}

/** Returns the key that a range of bytes is. Bytes are compared, because a text for each key would be garbage. */
function keyIn(body: Buffer, start: number, end: number, keys: readonly string[]): string | undefined {
  return keys.find((key) => {
    if (key.length !== end - start) return false;
    for (let i = 0; i < key.length; i++) if (body[start + i] !== key.charCodeAt(i)) return false;
    return true;
  });
}
