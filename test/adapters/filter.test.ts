import { describe, expect, it } from 'vitest';
import {
  FilterError,
  type FilterOutput,
  GuestTrapError,
  type HotEngineConfigInput,
  InvalidArgumentError,
  ModuleRejectedError,
  type Principal,
  type PrincipalKind,
  type RequestContext,
  SlotKey,
  type UpstreamCandidate,
  WasmtimeFilterPlugin,
} from '../../src/index.ts';
import { InvalidAnswerError } from '../../src/policy/invalid-answer.ts';
import { WireError } from '../../src/wire/decode.ts';
import { type CandidateVerdict, filterResponse } from '../../src/wire/messages/filter.ts';
import { encodeToBytes } from '../support/encode.ts';
import { rejected, thrown } from '../support/errors.ts';
import { plugin } from '../support/plugins.ts';
import { newRuntime } from '../support/runtimes.ts';
import { caller, candidates, request, upstreamId } from '../support/samples.ts';

const key = new SlotKey('alice', 'k');

/** Registers a guest of test/plugins as a filter of a new runtime. */
function filterOf(name: string, config?: HotEngineConfigInput): WasmtimeFilterPlugin {
  const runtime = newRuntime(config);
  return new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key, name, plugin(name)));
}

interface Report {
  readonly [field: string]: unknown;
  readonly headers: readonly { name: string; value: string }[];
  readonly principal: { id: string; kind: string; claims: { key: string; value: string }[] };
}

interface Seen {
  readonly ctx?: Partial<RequestContext>;
  readonly principal?: Principal;
  readonly list?: readonly UpstreamCandidate[];
  readonly by?: string;
  readonly config?: HotEngineConfigInput;
}

/** Returns what a reporting guest reads of a call: the request, then each candidate. */
function seen({ ctx, principal = caller(), list = [], by = 'report-0-1-0', config }: Seen): [Report, ...Report[]] {
  const filter = filterOf(by, { ...config, wireBounds: { reasonBytes: 1_000_000 } });
  const output = filter.filter(request(ctx), principal, list);
  return output.perCandidateReasons.map(({ text }) => JSON.parse(text)) as [Report, ...Report[]];
}

/** Returns the headers that the guest reads, with values as latin1. */
function headersSeen(headers: RequestContext['headers'], config?: HotEngineConfigInput): [string, string][] {
  const [read] = seen({ ctx: { headers }, ...(config === undefined ? {} : { config }) });
  return read.headers.map(({ name, value }) => [name, Buffer.from(value, 'hex').toString('latin1')]);
}

describe('request of a filter', () => {
  it('has every field of the request context', () => {
    const [read, ...others] = seen({ ctx: { query: 'a=1', path: '/v1/ümlaut', requestId: '\ufeffr' } });
    expect(others).toEqual([]);
    expect(read).toEqual({
      request_id: '\ufeffr',
      method: 'POST',
      path: '/v1/ümlaut',
      query: 'a=1',
      headers: [{ name: 'content-type', value: Buffer.from('application/json').toString('hex') }],
      body: Buffer.from('{"model":"m","messages":[]}').toString('hex'),
      principal: { id: 'principal-1', kind: 'api_key', claims: [] },
    });
  });

  it.each([
    ['', ''],
    [null, null],
    [undefined, null],
  ])('has query %j as %j', (query, read) => {
    expect(seen({ ctx: query === undefined ? {} : { query } })[0].query).toBe(read);
  });

  it('has no credentials and no host', () => {
    const secret = ['authorization', 'X-Api-Key', 'HOST', 'proxy-authorization'].map((name): [string, string] => [
      name,
      's',
    ]);
    const kept: [string, string][] = [
      ['cookie', 'c=1'],
      ['connection', 'close'],
      ['x-anthropic-beta', 'b'],
      ['transfer-encoding', 'chunked'],
    ];
    expect(headersSeen([...secret, ...kept])).toEqual(kept);
    expect(headersSeen([...secret, ...kept], { cookieRedaction: true })).toEqual(kept.slice(1));
  });

  it('has lower-case header names grouped by first appearance, from lines or a record', () => {
    const lines = Object.entries({ B: '1', a: '2', b: '3' });
    const grouped = [
      ['b', '1'],
      ['b', '3'],
      ['a', '2'],
    ];
    expect(headersSeen(lines)).toEqual(grouped);
    expect(headersSeen(new Map(lines))).toEqual(grouped);
    expect(headersSeen({ b: ['1', '3'], a: '2', gone: undefined })).toEqual(grouped);
    expect(headersSeen([])).toEqual([]);
  });

  it('has header values as latin1 code units', () => {
    const all = String.fromCharCode(9, ...Array.from({ length: 95 }, (_, i) => 0x20 + i), 0x80, 0xff);
    expect(headersSeen([['x', all]])).toEqual([['x', all]]);
    expect(headersSeen([['x', Buffer.from(all, 'latin1')]])).toEqual([['x', all]]);
    expect(headersSeen([['x', '']])).toEqual([['x', '']]);
  });

  it.each([
    ['report-0-1-0', 'oauth_subject', 'o_auth_subject'],
    ['report-0-1-1', 'oauth_subject', 'oauth_subject'],
    ['report-0-1-2', 'oauth_subject', 'oauth_subject'],
    ['report-0-2-0', 'oauth_subject', 'oauth_subject'],
    ['report-0-1-0', 'workload_identity', 'workload_identity'],
    ['report-0-2-0', 'subscription_bearer', 'subscription_bearer'],
    ['report-0-1-1', 'internal_key', 'internal_key'],
  ])('of %s has principal kind %s as %s', (by, kind, read) => {
    const principal = { ...caller(), kind: kind as PrincipalKind };
    expect(seen({ by, principal })[0].principal.kind).toBe(read);
  });

  it('has claims as JSON with keys sorted by their UTF-8 bytes', () => {
    const claims = { b: { z: 1, '10': [true, null], '9': 'é' }, a: 1.5, '😀': 2n ** 63n, '～': -0.000001 };
    expect(seen({ principal: caller(claims) })[0].principal.claims.map(({ key, value }) => [key, text(value)])).toEqual(
      [
        ['a', '1.5'],
        ['b', '{"10":[true,null],"9":"é","z":1}'],
        ['～', '-1e-6'],
        ['😀', '9223372036854775808'],
      ],
    );
  });

  it('has candidates of PDK 0.1.0', () => {
    const list: UpstreamCandidate[] = [
      { ...candidates(1)[0]!, observedAtUnixSecs: 2n ** 64n - 1n },
      { upstreamId: upstreamId(2), name: '', kind: 'k', observedAtUnixSecs: 0 },
    ];
    expect(seen({ list }).slice(1)).toEqual([
      {
        upstream_id: upstreamId(1),
        name: 'upstream-1',
        kind: 'anthropic_api_key',
        observed_at_unix_secs: '18446744073709551615',
        predicted_cache_read_tokens: 100,
      },
      { upstream_id: upstreamId(2), name: '', kind: 'k', observed_at_unix_secs: '0', predicted_cache_read_tokens: 0 },
    ]);
  });

  it('has defaults for omitted fields of candidates, from PDK 0.1.1 on', () => {
    const [bare] = candidates(1);
    const [, read, full] = seen({
      by: 'report-0-1-1',
      list: [bare!, { ...bare!, planCapacityRatio: 0.5, rateLimitTier: 't', predictedUncachedInputTokens: 7 }],
    });
    const defaults = {
      predicted_cache_creation_tokens_5m: 0,
      predicted_cache_creation_tokens_1h: 0,
      predicted_uncached_input_tokens: 0,
      plan_capacity_ratio: '3ff0000000000000',
      organization_type: '',
      rate_limit_tier: '',
      seat_tier: '',
    };
    expect(read).toMatchObject(defaults);
    const given = { plan_capacity_ratio: '3fe0000000000000', rate_limit_tier: 't', predicted_uncached_input_tokens: 7 };
    expect(full).toMatchObject({ ...defaults, ...given });
  });

  it('has thread, model, prices and tier if the schema has them', () => {
    const ctx: Partial<RequestContext> = {
      threadId: 't',
      serviceTier: 's',
      canonicalModelId: 'm',
      cachePricing: { status: 'known', cacheReadMicrosPerMillion: 2n ** 60n },
    };
    const none = { status: 'unknown', cache_read_micros_per_million: null };
    expect(seen({ ctx })[0]).not.toHaveProperty('thread_id');
    expect(seen({ ctx, by: 'report-0-1-1' })[0]).toMatchObject({
      thread_id: 't',
      canonical_model_id: 'm',
      cache_pricing: { status: 'known', cache_read_micros_per_million: '1152921504606846976' },
    });
    expect(seen({ ctx, by: 'report-0-1-1' })[0]).not.toHaveProperty('service_tier');
    expect(seen({ ctx, by: 'report-0-1-2' })[0]).toMatchObject({ thread_id: 't', service_tier: 's' });
    expect(seen({ by: 'report-0-2-0' })[0]).toMatchObject({
      thread_id: null,
      service_tier: null,
      canonical_model_id: '',
      cache_pricing: none,
    });
  });

  it('has ids in lower case with hyphens, also of candidates that are class instances', () => {
    const id = 'ABCDEF00-0000-4000-8000-00000000000A';
    class Upstream {
      readonly name = 'n';
      readonly kind = 'k';
      get upstreamId() {
        return `{${id}}`;
      }
      get observedAtUnixSecs() {
        return 5;
      }
    }
    const spellings = [id, id.replaceAll('-', ''), `{${id}}`, `urn:uuid:${id}`];
    const list = [new Upstream(), ...spellings.map((upstreamId) => ({ ...candidates(1)[0]!, upstreamId }))];
    const ids = seen({ list }).slice(1);
    expect(ids.map((read) => read.upstream_id)).toEqual(Array(5).fill(id.toLowerCase()));
    expect(ids[0]).toMatchObject({ name: 'n', observed_at_unix_secs: '5' });
  });
});

function text(hex: string): string {
  return Buffer.from(hex, 'hex').toString();
}

/** Returns the output for an answer, which the guest `puppet` copies from the body. */
function outputOf(results: readonly CandidateVerdict[] | Uint8Array, config?: HotEngineConfigInput): FilterOutput {
  const body = results instanceof Uint8Array ? results : encodeToBytes(filterResponse, { results });
  return filterOf('puppet', config).filter(request({ body }), caller({ puppet: true }), []);
}

describe('answer of a filter', () => {
  const [one, two] = [upstreamId(1), upstreamId(2)];

  it('is returned as kept ids, reasons and a joined reason', () => {
    expect(
      outputOf([
        { upstreamId: two.toUpperCase(), decision: 'accept', reason: 'warm' },
        { upstreamId: `urn:uuid:${one}`, decision: 'RATE-limit', reason: '' },
        { upstreamId: one, decision: 'Accept', reason: 'no' },
        { upstreamId: two, decision: 'accept', reason: '' },
      ]),
    ).toEqual({
      keptUpstreamIds: [two, two],
      reason: `${two.toUpperCase()}: warm; ${one}: no`,
      perCandidateReasons: [
        { upstreamId: one, reason: 'rate_limited', text: '' },
        { upstreamId: one, reason: 'rejected_by_plugin', text: 'no' },
      ],
    });
  });

  it('keeps nothing when it is empty', () => {
    expect(outputOf([])).toEqual({ keptUpstreamIds: [], reason: '', perCandidateReasons: [] });
  });

  it('has its reasons truncated to reasonBytes without splitting a character', () => {
    const results = [{ upstreamId: one, decision: 'no', reason: 'é'.repeat(200) }];
    expect(outputOf(results).perCandidateReasons[0]?.text).toBe('é'.repeat(128));
    const cut = outputOf(results, { wireBounds: { reasonBytes: 3 } });
    expect(cut).toMatchObject({ reason: `${one}: é`, perCandidateReasons: [{ text: 'é' }] });
    expect(outputOf(results, { wireBounds: { reasonBytes: 0 } }).reason).toBe(`${one}: `);
  });

  it('is rejected for an id that is not a valid UUID', () => {
    const error = thrown(FilterError, () =>
      outputOf([
        { upstreamId: one, decision: 'accept', reason: '' },
        { upstreamId: 'upstream-7', decision: 'no', reason: '' },
      ]),
    );
    expect(error.message).toBe('filter plugin failed: upstream_id "upstream-7" is not a valid UUID');
    expect(error).toMatchObject({
      kind: 'runtime',
      hook: 'filter',
      plugin: 'puppet',
      principal: 'alice',
      versionId: 1,
    });
    expect(error.cause).toBeInstanceOf(InvalidAnswerError);
  });

  it('may have outputBodyBytes and is rejected beyond', () => {
    const bytes = encodeToBytes(filterResponse, { results: [{ upstreamId: one, decision: 'accept', reason: '' }] });
    const outputBodyBytes = bytes.length;
    expect(outputOf(bytes, { wireBounds: { outputBodyBytes } }).keptUpstreamIds).toEqual([one]);
    const bound = { wireBounds: { outputBodyBytes: outputBodyBytes - 1 } };
    expect(thrown(FilterError, () => outputOf(bytes, bound)).message).toContain(`more than outputBodyBytes`);
  });

  it('may have 1,000 results more than candidates and is rejected beyond', () => {
    const result = { upstreamId: one, decision: 'accept', reason: '' };
    expect(outputOf(new Array(1_000).fill(result)).keptUpstreamIds).toHaveLength(1_000);
    const error = thrown(FilterError, () => outputOf(new Array(1_001).fill(result)));
    expect(error.message).toContain('results: the message has more than 1000 elements');
    expect(error.cause).toBeInstanceOf(WireError);
  });

  it('may have labels and reasons of any length', () => {
    const long = 'é'.repeat(100_000);
    const result = { upstreamId: one, decision: `quota${long}`, reason: long };
    const rejection = { upstreamId: one, reason: 'insufficient_quota' };
    expect(outputOf([result]).perCandidateReasons).toEqual([{ ...rejection, text: 'é'.repeat(128) }]);
    const wide = outputOf([result], { wireBounds: { reasonBytes: 100_001 } });
    expect(wide.perCandidateReasons).toEqual([{ ...rejection, text: 'é'.repeat(50_000) }]);
  });

  it('is rejected if it does not decode', () => {
    const good = encodeToBytes(filterResponse, { results: [{ upstreamId: one, decision: 'accept', reason: '' }] });
    for (const bytes of [Buffer.alloc(64, 0xff), good.subarray(1), Buffer.concat([good, Buffer.alloc(1)])]) {
      const error = thrown(FilterError, () => outputOf(bytes));
      expect(error.kind).toBe('runtime');
      expect(error.cause).toBeInstanceOf(WireError);
    }
    // Aligned bytes before the archive are ignored.
    expect(outputOf(Buffer.concat([Buffer.alloc(16, 0xff), good])).keptUpstreamIds).toEqual([one]);
  });
});

describe('failure of a filter', () => {
  const misbehave = (behavior: string) => filterOf('misbehave').filter(request(), caller({ do: behavior }), []);

  it('is a FilterError of kind trap after a trap', () => {
    const error = thrown(FilterError, () => misbehave('unreachable'));
    expect(error).toMatchObject({ code: 'CC_LB_FILTER', kind: 'trap', retryable: false, versionId: 1, hook: 'filter' });
    expect(error.cause).toBeInstanceOf(GuestTrapError);
    expect(error.cause).toMatchObject({ phase: 'cc_lb_filter', trap: 'unreachable-code-reached', plugin: 'misbehave' });
  });

  it('is a FilterError of kind runtime after an answer that is out of bounds', () => {
    const error = thrown(FilterError, () => misbehave('answer-outside'));
    expect(error.kind).toBe('runtime');
    expect(error.cause).toBeInstanceOf(ModuleRejectedError);
  });

  it('is equal inline and off-thread', async () => {
    const filter = filterOf('misbehave');
    for (const behavior of ['unreachable', 'answer-outside', 'answer-garbage:100']) {
      const sync = thrown(FilterError, () => filter.filter(request(), caller({ do: behavior }), []));
      const call = filter.filterAsync(request(), caller({ do: behavior }), [], { where: 'thread' });
      expect(await rejected(FilterError, call)).toMatchObject({ message: sync.message, kind: sync.kind });
    }
  });
});

describe('invalid arguments of a filter', () => {
  const bad = (field: string, value: unknown) => ({ ...request(), [field]: value });
  const badCandidate = (field: string, value: unknown) => [candidates(1)[0], { ...candidates(1)[0], [field]: value }];
  const big = 2n ** 64n;
  it.each<[string, unknown[]]>([
    ['ctx', [undefined, caller(), []]],
    ['ctx', [null, caller(), []]],
    ['ctx', ['ctx', caller(), []]],
    ['requestId', [bad('requestId', 5), caller(), []]],
    ['requestId', [bad('requestId', '\ud800'), caller(), []]],
    ['method', [bad('method', undefined), caller(), []]],
    ['path', [bad('path', null), caller(), []]],
    ['query', [bad('query', 5), caller(), []]],
    ['headers', [bad('headers', undefined), caller(), []]],
    ['headers', [bad('headers', 'a: b'), caller(), []]],
    ['headers[1]', [bad('headers', [['a', 'b'], ['a']]), caller(), []]],
    ['headers[0]', [bad('headers', [['a b', 'b']]), caller(), []]],
    ['headers[0]', [bad('headers', [['a', 'Ā']]), caller(), []]],
    ['headers[0]', [bad('headers', [['a', 'b\r\nc: d']]), caller(), []]],
    ['headers[0]', [bad('headers', [['a', 5]]), caller(), []]],
    ["headers['a']", [bad('headers', { a: 5 }), caller(), []]],
    ['body', [bad('body', undefined), caller(), []]],
    ['body', [bad('body', '{}'), caller(), []]],
    ['body', [bad('body', new Uint16Array(4)), caller(), []]],
    ['body', [bad('body', new Uint8Array(new SharedArrayBuffer(4))), caller(), []]],
    ['principal', [request(), undefined, []]],
    ['principal.id', [request(), { ...caller(), id: 5 }, []]],
    ['principal.kind', [request(), { ...caller(), kind: 'o_auth_subject' }, []]],
    ['principal.kind', [request(), { ...caller(), kind: undefined }, []]],
    ['principal.claims', [request(), { ...caller(), claims: undefined }, []]],
    ['principal.claims.a', [request(), caller({ a: Number.NaN }), []]],
    ['principal.claims.a[1]', [request(), { ...caller(), claims: { a: [1, () => 1] } }, []]],
    ['candidates', [request(), caller(), undefined]],
    ['candidates', [request(), caller(), new Set()]],
    ['candidates[0].upstreamId', [request(), caller(), [null]]],
    ['candidates[1].upstreamId', [request(), caller(), badCandidate('upstreamId', 'x')]],
    ['candidates[1].upstreamId', [request(), caller(), badCandidate('upstreamId', 5)]],
    ['candidates[1].name', [request(), caller(), badCandidate('name', undefined)]],
    ['candidates[1].kind', [request(), caller(), badCandidate('kind', 5)]],
    ['candidates[1].observedAtUnixSecs', [request(), caller(), badCandidate('observedAtUnixSecs', -1)]],
    ['candidates[1].observedAtUnixSecs', [request(), caller(), badCandidate('observedAtUnixSecs', 1.5)]],
    ['candidates[1].observedAtUnixSecs', [request(), caller(), badCandidate('observedAtUnixSecs', 2 ** 53)]],
    ['candidates[1].observedAtUnixSecs', [request(), caller(), badCandidate('observedAtUnixSecs', big)]],
    [
      'candidates[1].predictedCacheReadTokens',
      [request(), caller(), badCandidate('predictedCacheReadTokens', 2 ** 32)],
    ],
    ['options.deadlineMs', [request(), caller(), [], { deadlineMs: 0 }]],
    ['options.deadlineMs', [request(), caller(), [], { deadlineMs: '5' }]],
    ['options.deadlineMS', [request(), caller(), [], { deadlineMS: 5 }]],
  ])('are reported with path %s', async (path, args) => {
    const filter = filterOf('report-0-1-0');
    const error = thrown(InvalidArgumentError, () => Reflect.apply(filter.filter, filter, args));
    expect(error.path).toBe(path);
    for (const where of ['inline', 'thread', undefined]) {
      const options = { ...(args[3] as object | undefined), where };
      const call = Reflect.apply(filter.filterAsync, filter, [...args.slice(0, 3), options]);
      expect((await rejected(InvalidArgumentError, call)).path).toBe(path);
    }
  });

  it.each([
    ['options.where', { where: 'worker' }],
    ['options.where', { where: 5 }],
    ['options.signal', { signal: {} }],
    ['options.signal', { signal: null }],
    ['options', 5],
    ['options', null],
  ])('are reported with path %s: %o', async (path, options) => {
    const filter = filterOf('report-0-1-0');
    const call = Reflect.apply(filter.filterAsync, filter, [request(), caller(), [], options]);
    expect((await rejected(InvalidArgumentError, call)).path).toBe(path);
  });
});
