/**
 * Guests built with each published PDK report every field that they read, which must equal the fields that were sent.
 */

import { describe, expect, it } from 'vitest';
import { findSchema, SCHEMAS } from '../../src/wire/schemas.ts';
import { decodeBytes } from '../support/decode.ts';
import { encodeToBytes } from '../support/encode.ts';
import { call, section } from './v8.ts';

const hex = (bytes: Uint8Array | string) => Buffer.from(bytes as string, 'latin1').toString('hex');
const bits = (value: number) => {
  const buffer = Buffer.alloc(8);
  buffer.writeDoubleBE(value);
  return buffer.toString('hex');
};

const body = Uint8Array.from({ length: 300 }, (_, index) => index);
const principal = { id: 'tenant ü', kind: 'internal_key', claims: ['a', '{"b":[1,"é"]}', '😀', 'null'] };
const headers = ['accept', 'text/plain', 'x-latin', 'caf\u00e9', 'x-empty', ''];
const upstream = { baseUrl: 'https://api.anthropic.com/' };

const exchange = { requestId: 'req-1 🦀', method: 'POST', path: '/v1/ä', query: '', headers, body, principal };
const seenExchange = {
  request_id: 'req-1 🦀',
  method: 'POST',
  path: '/v1/ä',
  query: '',
  headers: [
    { name: 'accept', value: hex('text/plain') },
    { name: 'x-latin', value: '636166e9' },
    { name: 'x-empty', value: '' },
  ],
  body: Buffer.from(body).toString('hex'),
  principal: {
    id: 'tenant ü',
    kind: 'internal_key',
    claims: [
      { key: 'a', value: Buffer.from('{"b":[1,"é"]}').toString('hex') },
      { key: '😀', value: hex('null') },
    ],
  },
};
const seenUpstream = { kind: 'anthropic_direct', base_url: 'https://api.anthropic.com/' };

const candidates = [
  {
    upstreamId: '11111111-1111-1111-1111-111111111111',
    name: 'one',
    kind: 'anthropic_api_key',
    observedAtUnixSecs: 2n ** 64n - 1n,
    predictedCacheReadTokens: 2 ** 32 - 1,
    predictedCacheCreationTokens5m: 2,
    predictedCacheCreationTokens1h: 3,
    predictedUncachedInputTokens: 4,
    planCapacityRatio: -0.1,
    organizationType: 'team "x"',
    rateLimitTier: 'tier\n4',
    seatTier: 'ω',
  },
  { upstreamId: '22222222-2222-2222-2222-222222222222', name: '', kind: 'k', observedAtUnixSecs: 7 },
];
const seenCandidates = [
  {
    upstream_id: '11111111-1111-1111-1111-111111111111',
    name: 'one',
    kind: 'anthropic_api_key',
    observed_at_unix_secs: '18446744073709551615',
    predicted_cache_read_tokens: 4294967295,
  },
  {
    upstream_id: '22222222-2222-2222-2222-222222222222',
    name: '',
    kind: 'k',
    observed_at_unix_secs: '7',
    predicted_cache_read_tokens: 0,
  },
];
const seenPlans = [
  {
    predicted_cache_creation_tokens_5m: 2,
    predicted_cache_creation_tokens_1h: 3,
    predicted_uncached_input_tokens: 4,
    plan_capacity_ratio: bits(-0.1),
    organization_type: 'team "x"',
    rate_limit_tier: 'tier\n4',
    seat_tier: 'ω',
  },
  {
    predicted_cache_creation_tokens_5m: 0,
    predicted_cache_creation_tokens_1h: 0,
    predicted_uncached_input_tokens: 0,
    plan_capacity_ratio: bits(1),
    organization_type: '',
    rate_limit_tier: '',
    seat_tier: '',
  },
];

const priced = {
  ...exchange,
  threadId: 'thread',
  serviceTier: 'priority',
  canonicalModelId: 'claude-x',
  cachePricing: {
    status: 'known',
    inputMicrosPerMillion: 2n ** 63n,
    cacheCreation5mMicrosPerMillion: 0,
    cacheCreation1hMicrosPerMillion: null,
    cacheReadMicrosPerMillion: 5,
  },
  candidates,
};
const seenPrice = {
  thread_id: 'thread',
  canonical_model_id: 'claude-x',
  cache_pricing: {
    status: 'known',
    input_micros_per_million: '9223372036854775808',
    cache_creation_5m_micros_per_million: '0',
    cache_creation_1h_micros_per_million: null,
    cache_read_micros_per_million: '5',
  },
};
const seenTier = { ...seenPrice, service_tier: 'priority' };
const plannedCandidates = seenCandidates.map((candidate, index) => ({ ...candidate, ...seenPlans[index] }));

const GUESTS = [
  { guest: 'report-0-1-0', more: {}, seen: seenCandidates },
  { guest: 'report-0-1-1', more: seenPrice, seen: plannedCandidates },
  { guest: 'report-0-1-2', more: seenTier, seen: plannedCandidates },
  { guest: 'report-0-2-0', more: seenTier, seen: plannedCandidates },
];

describe.each(GUESTS)('$guest', ({ guest, more, seen }) => {
  const schema = findSchema('filter', section(guest, 'cc_lb.schema.filter.v1').toString('hex'))!;
  const reports = (request: typeof priced) => {
    const answer = decodeBytes(schema.response, call(guest, 'filter', encodeToBytes(schema.request, request)));
    return answer.results.map(({ upstreamId, decision, reason }) => {
      expect(decision).toBe('report');
      return [upstreamId, JSON.parse(reason)];
    });
  };

  it('reads every field that its schema of a filter request has', () => {
    expect(reports(priced)).toEqual([
      ['00000000-0000-0000-0000-000000000000', { ...seenExchange, ...more }],
      ...seen.map((candidate) => [candidate.upstream_id, candidate]),
    ]);
  });

  it('reads absent fields as absent', () => {
    const { threadId, serviceTier, query, ...rest } = priced;
    const [request, ...others] = reports({ ...rest, query: null, candidates: [] } as unknown as typeof priced);
    expect(others).toEqual([]);
    expect(request![1].query).toBeNull();
    for (const field of ['thread_id', 'service_tier']) {
      if (field in more) expect(request![1][field], field).toBeNull();
    }
  });

  it('reads every field of a shape request', () => {
    const { request, response } = SCHEMAS.shape[0]!;
    const answer = decodeBytes(response, call(guest, 'shape', encodeToBytes(request, { ...exchange, upstream })));
    expect(answer).toMatchObject({ url: upstream.baseUrl, method: 'REPORT', headers: ['x-report', 'shape'] });
    expect(JSON.parse(Buffer.from(answer.body).toString())).toEqual({ ...seenExchange, upstream: seenUpstream });
  });
});

const transformed = {
  requestId: 'req',
  principal,
  upstream: { baseUrl: null },
  requestMethod: 'POST',
  requestPath: '/v1/messages',
  canonicalModelId: 'claude-x',
  responseStatus: 529,
  responseHeaders: headers,
};
const seenTransformed = {
  request_id: 'req',
  principal: seenExchange.principal,
  upstream: { kind: 'anthropic_direct', base_url: null },
  request_method: 'POST',
  request_path: '/v1/messages',
  canonical_model_id: 'claude-x',
  response_status: 529,
  response_headers: seenExchange.headers,
};

describe.each(['report-0-1-1', 'report-0-1-2', 'report-0-2-0'])('%s', (guest) => {
  it('reads every field of a response', () => {
    const { request, response } = SCHEMAS.transform_response[0]!;
    const sent = encodeToBytes(request, { exchange: transformed, body });
    const answer = decodeBytes(response, call(guest, 'transform_response', sent));
    if (answer.kind !== 'replace') throw new Error(answer.kind);
    expect([answer.status, answer.headers]).toEqual([null, null]);
    expect(JSON.parse(Buffer.from(answer.body!).toString())).toEqual({ ...seenTransformed, body: seenExchange.body });
  });

  it('reads every field of a server-sent event', () => {
    const { request, response } = SCHEMAS.transform_sse_event[0]!;
    const sent = encodeToBytes(request, { exchange: transformed, event: { event: 'ping ü', data: body } });
    const answer = decodeBytes(response, call(guest, 'transform_sse_event', sent));
    if (answer.kind !== 'replace') throw new Error(answer.kind);
    expect(answer.events.map(({ event }) => event)).toEqual(['report']);
    const event = { event: 'ping ü', data: seenExchange.body };
    expect(JSON.parse(Buffer.from(answer.events[0]!.data).toString())).toEqual({ ...seenTransformed, event });
  });
});

describe.each(['report-0-1-0', 'report-0-1-1', 'report-0-1-2'])('%s', (guest) => {
  /** FNV-1a of 64 bits. */
  const digest = (bytes: Uint8Array) =>
    bytes.reduce((hash, byte) => BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n), 0xcbf29ce484222325n);
  const digits = (text: string) => digest(Buffer.from(text)).toString(16).padStart(16, '0');
  const u64 = (value: bigint) => Buffer.from(new BigUint64Array([value]).buffer);
  const { request } = SCHEMAS.observe[0]!;
  const finished = {
    type: 'request_finished',
    status: 0x1234,
    inputTokens: 2n ** 64n - 1n,
    outputTokens: null,
    cacheCreationInputTokens: 0,
    cacheReadInputTokens: 9,
  } as const;
  const counts = [u64(2n ** 64n - 1n), null, u64(0n), u64(9n)].flatMap((count) =>
    count ? [1, ...count] : [0, 0, 0, 0, 0, 0, 0, 0, 0],
  );
  const events = [
    { type: 'request_started', requestId: 'no-agent', downstreamUserAgent: null },
    { type: 'request_started', requestId: 'ü', downstreamUserAgent: digits('ü') },
    { type: 'authn_complete', principalId: digits('api_key'), principalKind: 'api_key' },
    { type: 'upstream_chosen', upstream: { baseUrl: null } },
    { type: 'upstream_chosen', upstream: { baseUrl: `https://h/${digits('https://h')}` } },
    {
      type: 'chunk',
      batchIndex: 1,
      eventCount: 2n ** 63n,
      totalBytes: digest(Buffer.concat([u64(1n), u64(2n ** 63n)])),
    },
    { ...finished, durationMs: digest(Buffer.from([0x34, 0x12, ...counts])) },
    { type: 'error', code: 'c', message: 'ü', source: digits('c\0ü') },
  ] as const;

  it.each(events)('reads every field of $type', (event) => {
    expect(call(guest, 'observe', encodeToBytes(request, event))).toHaveLength(0);
  });

  it.each([
    { ...events[1], downstreamUserAgent: null },
    { ...events[2], principalId: digits('oauth_subject') },
    { ...events[4], upstream: { baseUrl: 'https://h/x' } },
    { ...events[5], eventCount: 3 },
    { ...events[6], outputTokens: 0 },
    { ...events[7], message: 'u' },
  ])('traps on a $type with a wrong digest', (event) => {
    expect(() => call(guest, 'observe', encodeToBytes(request, event))).toThrow('unreachable');
  });
});
