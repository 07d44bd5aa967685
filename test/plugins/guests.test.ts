/** Checks the behavior that README.md documents for the guests that the Rust host cannot run, and for the canary. */

import { describe, expect, it } from 'vitest';
import { SlotKey, type UpstreamCandidate, WasmtimeFilterPlugin, WasmtimeRuntime } from '../../src/index.ts';
import { SCHEMAS } from '../../src/wire/schemas.ts';
import { decodeBytes } from '../support/decode.ts';
import { encodeToBytes } from '../support/encode.ts';
import { plugin } from '../support/plugins.ts';
import { caller, candidates, request } from '../support/samples.ts';
import { call, instance } from './v8.ts';

const exchange = (claims: Record<string, string>) => ({
  requestId: 'req-7',
  principal: {
    id: 'p',
    kind: 'api_key',
    claims: Object.entries(claims).flatMap(([key, value]) => [key, JSON.stringify(value)]),
  },
  upstream: { baseUrl: null },
  requestMethod: 'POST',
  requestPath: '/',
  canonicalModelId: '',
  responseStatus: 200,
  responseHeaders: ['content-type', 'text/plain'],
});

const respond = (claims: Record<string, string>, guest = 'transforms') => {
  const { request, response } = SCHEMAS.transform_response[0]!;
  const sent = encodeToBytes(request, { exchange: exchange(claims), body: Buffer.from('abc') });
  const answer = decodeBytes(response, call(guest, 'transform_response', sent));
  if (answer.kind === 'unchanged') return answer.kind;
  return [answer.status, answer.headers, answer.body && Buffer.from(answer.body).toString()];
};

const stream = (claims: Record<string, string>, guest = 'transforms') => {
  const { request, response } = SCHEMAS.transform_sse_event[0]!;
  const sent = encodeToBytes(request, {
    exchange: exchange(claims),
    event: { event: 'ping', data: Buffer.from('data') },
  });
  const answer = decodeBytes(response, call(guest, 'transform_sse_event', sent));
  if (answer.kind !== 'replace') return answer.kind;
  return answer.events.map(({ event, data }) => [event, Buffer.from(data).toString('latin1')]);
};

describe('transforms', () => {
  const original = ['content-type', 'text/plain'];
  it.each<[string, unknown]>([
    ['', 'unchanged'],
    ['unknown', 'unchanged'],
    ['status:404', [404, null, null]],
    ['headers', [null, [...original, 'x-transformed', 'yes'], null]],
    ['no-headers', [null, [], null]],
    ['body', [null, null, 'ABC']],
    ['empty-body', [null, null, '']],
    ['all', [299, [...original, 'x-transformed', 'yes'], 'ABC']],
    ['nothing', [null, null, null]],
    ['bad-header-name', [null, [...original, 'no spaces', ''], null]],
    ['bad-header-value', [null, [...original, 'x-broken', 'a\r\nb'], null]],
    ['many-headers:2', [null, ['x-many', '1', 'x-many', '1'], null]],
    ['long-header:3', [null, [...original, 'x-long', 'lll'], null]],
    ['large-body:4', [null, null, 'bbbb']],
  ])('changes a response by %j', (transform, expected) => {
    expect(respond({ transform })).toEqual(expected);
  });

  it.each<[string, unknown]>([
    ['', 'unchanged'],
    ['drop', 'drop'],
    ['no-events', []],
    ['upper', [['ping', 'DATA']]],
    ['rename', [['renamed', 'data']]],
    ['no-name', [['', 'data']]],
    [
      'repeat:2',
      [
        ['ping', 'data'],
        ['ping', 'data'],
      ],
    ],
    ['lines', [['ping', 'one\ntwo\r\nthree\rfour\n']]],
    ['name-with-line-break', [['a\ndata: injected', 'data']]],
    ['not-utf8', [['ping', '\xff\xfe']]],
    ['large:3', [['ping', 'ddd']]],
  ])('changes an event by %j', (transform, expected) => {
    expect(stream({ transform })).toEqual(expected);
  });

  it('keeps events of other names, and traps on request', () => {
    expect(stream({ transform: 'drop', event: 'pong' })).toBe('unchanged');
    expect(stream({ transform: 'drop', event: 'ping' })).toBe('drop');
    expect(() => respond({ transform: 'trap' })).toThrow('unreachable');
    expect(() => stream({ transform: 'trap' })).toThrow('unreachable');
  });
});

describe('transforms-noop', () => {
  it('traps when its transforms are called', () => {
    expect(() => respond({}, 'transforms-noop')).toThrow('unreachable');
    expect(() => stream({}, 'transforms-noop')).toThrow('unreachable');
  });
});

describe('mixed-schemas', () => {
  const guest = 'mixed-schemas';
  const { requestId, principal } = exchange({});
  const http = { requestId, principal, method: 'PUT', path: '/', headers: [], body: Buffer.from('abc') };
  const candidate = { upstreamId: 'id', name: 'up', kind: 'k', observedAtUnixSecs: 1, predictedCacheReadTokens: 5 };

  it('decodes each hook in the layout of its schema', () => {
    const [early, , later] = SCHEMAS.filter;
    const sent = encodeToBytes(early!.request, { ...http, candidates: [candidate] });
    expect(decodeBytes(early!.response, call(guest, 'filter', sent)).results).toEqual([
      { upstreamId: 'id', decision: 'accept', reason: 'up has 5' },
    ]);
    const wrong = encodeToBytes(later!.request, { ...http, candidates: [candidate] });
    expect(() => call(guest, 'filter', wrong)).toThrow('unreachable');

    const shape = SCHEMAS.shape[0]!;
    const asked = encodeToBytes(shape.request, { ...http, upstream: { baseUrl: null } });
    expect(decodeBytes(shape.response, call(guest, 'shape', asked))).toMatchObject({
      url: 'https://mixed.test/',
      headers: ['x-schema', '0.2.0'],
    });
    expect(respond({}, guest)).toEqual([null, null, 'req-7']);
    expect(stream({}, guest)).toEqual([['ping', 'req-7']]);
    const event = { type: 'authn_complete', principalId: 'p', principalKind: 'api_key' } as const;
    expect(call(guest, 'observe', encodeToBytes(SCHEMAS.observe[0]!.request, event))).toHaveLength(0);
  });
});

describe('no-staging', () => {
  it('rejects the upstreams of staging', () => {
    using runtime = new WasmtimeRuntime();
    const slot = runtime.registerFilter(SlotKey.global('no-staging'), 'no-staging', plugin('no-staging'));
    const [first, second] = candidates(2) as [UpstreamCandidate, UpstreamCandidate];
    const answer = new WasmtimeFilterPlugin(runtime, slot).filter(request(), caller(), [
      { ...first, name: 'staging-1' },
      { ...second, name: 'production-1' },
    ]);
    expect(answer.keptUpstreamIds).toEqual([second.upstreamId]);
    expect(answer.perCandidateReasons).toMatchObject([{ upstreamId: first.upstreamId, text: 'a staging upstream' }]);
  });
});

describe('canary', () => {
  const { requestId, principal } = exchange({});
  const http = { requestId, principal, method: 'PUT', path: '/', headers: [], body: Buffer.from('abc') };
  const { request, response } = SCHEMAS.filter[0]!;
  const sent = encodeToBytes(request, { ...http, candidates: [] });
  const report = (answer: Uint8Array) => decodeBytes(response, answer).results[0]!.reason;

  it('reports no marks in a fresh instance', () => {
    const reports = [1, 2].map(() => report(call('canary', 'filter', sent)));
    expect(reports).toEqual(['calls=1 canaries=0', 'calls=1 canaries=0']);
  });

  it('reports the marks of an earlier call in a reused instance', () => {
    const shared = instance('canary');
    expect(report(shared('filter', sent))).toBe('calls=1 canaries=0');
    expect(report(shared('filter', sent))).toMatch(/^calls=2 canaries=[1-9]/);
  });
});
