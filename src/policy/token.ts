/**
 * The character rules of HTTP messages, as enforced by the `http` crate of the Rust host: tokens, header names and
 * header values.
 */

/** Longest token in bytes, which is the limit of header names. */
const MAX_TOKEN_BYTES = 65_535;
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const LOWER_TOKEN = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
const NOT_IN_VALUE = /[^\t\x20-\x7e\x80-\xff]/;

/** Whether the text is an RFC 9110 token of 1–65,535 bytes; a method is one. */
export function isToken(text: string): boolean {
  return text.length <= MAX_TOKEN_BYTES && TOKEN.test(text);
}

/** Returns the header name in lower case; undefined if it is not a token of 1–65,535 bytes. */
export function headerName(name: string): string | undefined {
  if (!isToken(name)) return undefined;
  return LOWER_TOKEN.test(name) ? name : name.toLowerCase();
}

/** Whether each code unit is allowed in a header value: tab, 0x20–0x7E, 0x80–0xFF. */
export function isHeaderValue(value: string): boolean {
  return !NOT_IN_VALUE.test(value);
}
