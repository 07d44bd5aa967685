/** Encodes messages that tests send or answer. */
import { encodeRequest } from '../../src/wire/encode.ts';
import type { Message } from '../../src/wire/rkyv.ts';
import { HeapScratch } from '../../src/wire/scratch.ts';

/** Returns the message in one array, including the body. Throws as `encodeRequest` does. */
export function encodeToBytes<T>(message: Message<T>, value: T): Uint8Array {
  const scratch = new HeapScratch();
  encodeRequest(message, value, scratch);
  return scratch.message();
}
