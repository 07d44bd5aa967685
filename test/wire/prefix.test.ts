import { expect, it } from 'vitest';
import { encodeRequest } from '../../src/wire/encode.ts';
import { transformSseEventRequest } from '../../src/wire/messages/transform.ts';
import type { Prefix } from '../../src/wire/prefix.ts';
import { HeapScratch } from '../../src/wire/scratch.ts';
import { encodeToBytes } from '../support/encode.ts';

const exchange = {
  requestId: 'req-1',
  principal: { id: 'p', kind: 'api_key', claims: ['plan', '"team"', 'seats', '3'] },
  upstream: { baseUrl: 'https://upstream.test/' },
  requestMethod: 'POST',
  requestPath: '/v1/messages',
  canonicalModelId: 'm',
  responseStatus: 200,
  responseHeaders: ['content-type', 'text/event-stream', 'x', 'y'],
};
const utf8 = new TextEncoder();
const events = ['', 'ping', 'é', 'content_block_delta'].flatMap((event) =>
  ['', '{}', 'longer data', 'é'.repeat(5_000)].map((data) => ({ event, data: utf8.encode(data) })),
);

function encoded(value: Parameters<typeof encodeToBytes>[1], scratch: HeapScratch, prefix: Prefix | null): Uint8Array {
  encodeRequest(transformSseEventRequest as never, value as never, scratch, prefix);
  return new Uint8Array(scratch.bytes.subarray(scratch.start, scratch.start + scratch.headLength));
}

it.each([
  ['ASCII', exchange],
  ['other text', { ...exchange, requestPath: '/é', responseHeaders: ['x', 'ÿ'] }],
  ['nothing out of line', { ...exchange, principal: { id: '', kind: '', claims: [] }, responseHeaders: [] }],
  ['no base URL', { ...exchange, upstream: { baseUrl: null } }],
])('a prefix produces the bytes of an encoding without it: %s', (_, value) => {
  const prefix: Prefix = { encoded: null };
  for (const event of [...events, ...events]) {
    const expected = encodeToBytes(transformSseEventRequest, { exchange: value, event });
    expect(Buffer.compare(encoded({ exchange: value, event }, new HeapScratch(32, 16), prefix), expected)).toBe(0);
  }
});

it('a prefix is not used if a message starts at another position in its scratch', () => {
  const prefix: Prefix = { encoded: null };
  const value = { exchange, event: events[1]! };
  const expected = encodeToBytes(transformSseEventRequest, value);
  for (const start of [16, 0, 8, 16]) {
    expect(Buffer.compare(encoded(value, new HeapScratch(64, start), prefix), expected)).toBe(0);
  }
});

it('a prefix is not kept for a message that cannot be encoded', () => {
  const prefix: Prefix = { encoded: null };
  const bad = { exchange, event: { event: 'a\ud800', data: utf8.encode('') } };
  expect(() => encoded(bad, new HeapScratch(), prefix)).toThrow(/event\.event/);
  expect(prefix.encoded).toBeNull();
});
