/** Decodes messages that tests receive or encode. */
import { type DecodeLimits, decodeAnswer } from '../../src/wire/decode.ts';
import type { Message } from '../../src/wire/rkyv.ts';

/** Decodes all bytes as a message, which are not leased. Throws as `decodeAnswer` does. */
export function decodeBytes<T>(message: Message<T>, given: Uint8Array, limits?: DecodeLimits): T {
  const bytes = Buffer.from(given.buffer, given.byteOffset, given.length);
  return decodeAnswer(message, { bytes, start: 0, end: bytes.length, leased: false }, limits);
}
