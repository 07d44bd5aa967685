/** Encodes requests into leased memory. The caller's getters run here: they may abort the call or detach its body. */
import { checkBytes } from '../validate.ts';
import { encodeRequest } from '../wire/encode.ts';
import type { Prefix } from '../wire/prefix.ts';
import type { Message } from '../wire/rkyv.ts';
import type { HookCall } from './hook-call.ts';
import { type CallScratch, leaseScratch, returnScratch } from './scratch.ts';

/** Encodes the request of a call. Throws what the caller's getters throw, and the reason of an aborted signal. */
export function encodeCall(call: HookCall<unknown>, scratch: CallScratch): void {
  call.signal?.throwIfAborted();
  call.encode(scratch);
  call.signal?.throwIfAborted();
}

/** Encodes a message. Throws an InvalidArgumentError for a field of another type, and for a detached body. */
export function encodeMessage<T>(
  message: Message<T>,
  value: T,
  scratch: CallScratch,
  prefix: Prefix | null = null,
): void {
  encodeRequest(message, value, scratch, prefix);
  // The encoder checks that the length did not change; the length of a detached buffer is 0.
  if (scratch.body?.length === 0) checkBytes(scratch.body, 'body');
}

/** Returns the encoded request of a call in newly allocated memory. */
export function encodedCopy(call: Pick<HookCall<unknown>, 'encode'>): Uint8Array {
  const scratch = leaseScratch();
  try {
    call.encode(scratch);
    return scratch.message();
  } finally {
    returnScratch(scratch);
  }
}
