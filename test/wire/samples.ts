/** A small filter request for tests, and a helper for the message of its rejection. */
import { InvalidArgumentError } from '../../src/errors.ts';
import type { UpstreamCandidate } from '../../src/types.ts';
import { type FilterRequest, filterRequestTiered } from '../../src/wire/messages/filter.ts';
import type { Message } from '../../src/wire/rkyv.ts';
import { encodeToBytes } from '../support/encode.ts';

export const candidate = (over: Partial<UpstreamCandidate> = {}): UpstreamCandidate => ({
  upstreamId: '00000000-0000-0000-0000-000000000001',
  name: 'one',
  kind: 'anthropic_direct',
  observedAtUnixSecs: 1,
  ...over,
});

export const request = (over: Partial<FilterRequest> = {}): FilterRequest => ({
  requestId: 'r-1',
  method: 'POST',
  path: '/v1/messages',
  query: null,
  headers: ['accept', '*/*'],
  body: Uint8Array.of(1, 2, 3, 4, 5),
  principal: { id: 'p', kind: 'api_key', claims: [] },
  candidates: [candidate()],
  ...over,
});

/** Returns the message of the InvalidArgumentError that encoding `value` throws, or `encoded`. */
export function refusal(value: unknown, message: Message<unknown> = filterRequestTiered): string {
  try {
    encodeToBytes(message, value);
  } catch (error) {
    if (error instanceof InvalidArgumentError) return error.message;
    throw error;
  }
  return 'encoded';
}
