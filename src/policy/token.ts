/**
 * The character rules of HTTP messages, as enforced by the `http` crate of the Rust host: tokens, header names and
 * header values.
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

/** Returns the header name in lower case; undefined if it is not a token of 1–65,535 bytes. */
export function headerName(name: string): string | undefined {
  if (name.length > MAX_NAME_BYTES) return undefined;
  if (LOWER_TOKEN.test(name)) return name;
  return TOKEN.test(name) ? name.toLowerCase() : undefined;
}

/** Whether each code unit is allowed in a header value: tab, 0x20–0x7E, 0x80–0xFF. */
export function isHeaderValue(value: string): boolean {
  return !NOT_IN_VALUE.test(value);
}

/** Converts only A–Z to lower case: `toLowerCase` also converts the Kelvin sign to `k`. */
export function asciiLowerCase(text: string): string {
  return text.replace(UPPER, (letters) => letters.toLowerCase());
}
