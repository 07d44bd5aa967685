/**
 * The character rules of HTTP messages, as the `http` crate of the Rust host enforces them: what a token, a header name
 * and a header value may hold.
 */

/** Longest header name, in bytes. */
const MAX_NAME_BYTES = 65_535;
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const LOWER_TOKEN = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
const NOT_IN_VALUE = /[^\t\x20-\x7e\x80-\xff]/;
const UPPER = /[A-Z]+/g;

/** Whether the text is an RFC 9110 token; a method is one. */
export function isToken(text: string): boolean {
  return TOKEN.test(text);
}

/** The header name in lower case, or `undefined` where it is not a token of 1–65,535 bytes. */
export function headerName(name: string): string | undefined {
  if (name.length > MAX_NAME_BYTES) return undefined;
  if (LOWER_TOKEN.test(name)) return name;
  return TOKEN.test(name) ? name.toLowerCase() : undefined;
}

/** Whether each code unit stands for a byte that a header value may hold: tab, 0x20–0x7E, 0x80–0xFF. */
export function isHeaderValue(value: string): boolean {
  return !NOT_IN_VALUE.test(value);
}

/** Lower case for A–Z alone: `toLowerCase` would also turn the Kelvin sign into a `k`. */
export function asciiLowerCase(text: string): string {
  return text.replace(UPPER, (letters) => letters.toLowerCase());
}
