import { describe, expect, it } from 'vitest';
import { type Probe, probesFor } from '../../src/admission/probe.ts';
import { CallScratch } from '../../src/dispatch/scratch.ts';
import { admitWasm, admitWasmAsync, ProbeFailedError, SlotKey } from '../../src/index.ts';
import type { Slot } from '../../src/slots.ts';
import type { HookKind } from '../../src/types.ts';
import { SCHEMAS } from '../../src/wire/schemas.ts';
import { decodeBytes } from '../support/decode.ts';
import { thrown } from '../support/errors.ts';
import { guest } from '../support/guest.ts';
import { plugin } from '../support/plugins.ts';
import { isolatedRuntime, newRuntime, recorder } from '../support/runtimes.ts';

const MODEL = 'claude-3-haiku-20240307';
const BODY = `{"model":"${MODEL}","messages":[]}`;
const PRINCIPAL = { id: 'probe-principal', kind: 'api_key', claims: [] };
const TRANSFORMING: HookKind[] = ['shape', 'transform_response', 'transform_sse_event'];

/** Returns the bytes that a probe sends. */
function sent(probe: Probe): Uint8Array {
  const scratch = new CallScratch();
  probe.encode(scratch);
  const { bytes, start, headLength, tailLength, body } = scratch;
  const end = start + headLength;
  return Buffer.concat([bytes.subarray(start, end), body ?? new Uint8Array(0), bytes.subarray(end, end + tailLength)]);
}

/** Returns the probes of a plugin as admission sends them. */
function probesOf(bytes: Uint8Array, kind: 'filter' | 'shape'): Probe[] {
  const runtime = newRuntime();
  const key = SlotKey.global('probed');
  const slot = kind === 'filter' ? runtime.registerFilter(key, 'n', bytes) : runtime.registerShape(key, 'n', bytes);
  return probesFor((slot as Slot).version.schemas);
}

/** Returns what a reporting plugin read of the request and of each candidate. */
function reports(name: string, schema: number): Record<string, unknown>[][] {
  const runtime = newRuntime();
  const slot = runtime.registerFilter(SlotKey.global('report'), 'report', plugin(name));
  return probesOf(plugin(name), 'filter')
    .filter(({ hook }) => hook === 'filter')
    .map((probe) => {
      const answer = runtime.callFilter(slot.key, sent(probe));
      return decodeBytes(SCHEMAS.filter[schema]!.response, answer).results.map(({ reason }) => JSON.parse(reason));
    });
}

const hex = (text: string) => Buffer.from(text).toString('hex');
const bytesOf = (text: string) => new TextEncoder().encode(text);
const HTTP = {
  request_id: 'probe-req-1',
  method: 'POST',
  path: '/v1/messages',
  query: null,
  headers: [{ name: 'content-type', value: hex('application/json') }],
  body: hex(BODY),
  principal: PRINCIPAL,
};
const PRICED = {
  thread_id: null,
  canonical_model_id: MODEL,
  cache_pricing: {
    status: 'unknown',
    input_micros_per_million: null,
    cache_creation_5m_micros_per_million: null,
    cache_creation_1h_micros_per_million: null,
    cache_read_micros_per_million: null,
  },
};

describe('sample of the filter', () => {
  it('is read by a plugin of PDK 0.1.0, and sent again with one candidate', () => {
    const [canonical, more, ...others] = reports('report-0-1-0', 0);
    expect(canonical).toEqual([HTTP]);
    expect(more?.[0]).toEqual(HTTP);
    expect(more?.[1]).toMatchObject({ name: 'probe-upstream', kind: 'anthropic_api_key' });
    expect(others).toEqual([]);
  });

  it('is read by a plugin of PDK 0.1.1, and sent again with one candidate', () => {
    const [canonical, more, ...others] = reports('report-0-1-1', 1);
    expect(canonical).toEqual([{ ...HTTP, ...PRICED }]);
    expect(more?.[1]).toMatchObject({ name: 'probe-upstream', seat_tier: '' });
    expect(others).toEqual([]);
  });

  it.each(['report-0-1-2', 'report-0-2-0'])('is read by %s with a service tier, and is sent once', (name) => {
    expect(reports(name, 2)).toEqual([[{ ...HTTP, ...PRICED, service_tier: 'priority' }]]);
  });
});

describe('samples of the other hooks', () => {
  it('decode to the documented values', () => {
    const samples = probesOf(plugin('report-0-1-2'), 'shape').filter(({ hook }) => hook !== 'filter');
    const decoded = samples.map((probe) => [
      probe.hook,
      decodeBytes<unknown>(SCHEMAS[probe.hook][0]!.request as (typeof SCHEMAS.shape)[0]['request'], sent(probe)),
    ]);
    const request = {
      requestId: 'probe-req-1',
      principal: PRINCIPAL,
      upstream: { baseUrl: 'https://example.test' },
    };
    const headers = ['content-type', 'application/json'];
    const exchange = {
      ...request,
      requestMethod: 'POST',
      requestPath: '/v1/messages',
      canonicalModelId: MODEL,
      responseStatus: 200,
    };
    const start = { event: 'content_block_start', data: bytesOf('{"type":"content_block_start"}') };
    expect(decoded).toMatchObject([
      ['shape', { ...request, method: 'POST', path: '/v1/messages', query: null, headers, body: bytesOf(BODY) }],
      ['observe', { type: 'request_started', requestId: 'probe-req-1', downstreamUserAgent: 'cc-lb-probe/1.0' }],
      ['transform_response', { exchange: { ...exchange, responseHeaders: headers }, body: bytesOf('{"content":[]}') }],
      [
        'transform_sse_event',
        { exchange: { ...exchange, responseHeaders: ['content-type', 'text/event-stream'] }, event: start },
      ],
    ]);
  });
});

describe('probing', () => {
  const probed = (bytes: Uint8Array) => {
    const { sink, lines } = recorder();
    admitWasm(isolatedRuntime({}, { metrics: sink }), bytes);
    return lines;
  };

  it('calls every declared hook once for any kind and reports under a label that no plugin can choose', () => {
    expect(probed(guest({ hooks: ['observe', 'shape', 'filter'], schema: 2, metadata: { name: 'mine' } }))).toEqual([
      'call (probe) filter',
      'call (probe) shape',
      'call (probe) observe',
    ]);
    expect(probed(guest({ hooks: TRANSFORMING }))).toEqual([
      'call (probe) shape',
      'call (probe) transform_response',
      'call (probe) transform_sse_event',
    ]);
  });

  it.each([
    [0, 2],
    [1, 2],
    [2, 1],
  ])('calls a filter of schema %d %d times', (schema, times) => {
    expect(probed(guest({ schema }))).toEqual(Array(times).fill('call (probe) filter'));
  });

  it('skips transforms in noop mode', () => {
    expect(probed(plugin('transforms-noop'))).toEqual(['call (probe) shape']);
    expect(probed(plugin('transforms'))).toHaveLength(3);
  });

  it('encodes each hook in the schema of that hook', () => {
    expect(probed(plugin('mixed-schemas'))).toEqual([
      'call (probe) filter',
      'call (probe) filter',
      'call (probe) shape',
      'call (probe) observe',
      'call (probe) transform_response',
      'call (probe) transform_sse_event',
    ]);
  });

  it.each([0, 1])('reports why a filter of schema %d fails only with a candidate', (schema) => {
    // Longer than the sample without a candidate and shorter than the sample with one.
    const between = schema === 0 ? 260 : 400;
    const hook = `(if (i32.gt_u (local.get 1) (i32.const ${between})) (then unreachable)) $answer`;
    const error = thrown(ProbeFailedError, () => admitWasm(newRuntime(), guest({ schema, hook })));
    expect(error.hook).toBe('filter');
    expect(error.reason).toMatch(/unreachable.*with one candidate; plugins of wire 0\.3\.0 and 0\.4\.0/);
    expect(() => admitWasm(newRuntime(), guest({ schema: 2, hook: hook.replace(`${between}`, '600') }))).not.toThrow();
  });

  it.each(['filter', 'shape', 'transform_response', 'transform_sse_event'] as const)(
    'limits the answer of %s to outputBodyBytes',
    async (hook) => {
      // A filter answers with 8 bytes, and the other hooks with at most 200.
      const outputBodyBytes = hook === 'filter' ? 7 : 200;
      const large = `i64.const ${(4096n << 32n) | BigInt(outputBodyBytes + 1)}`;
      const hooks = hook.startsWith('transform_') ? TRANSFORMING : [hook];
      const runtime = newRuntime({ wireBounds: { outputBodyBytes } });
      const bytes = guest({ hooks, hook: { [hook]: large } });
      const error = thrown(ProbeFailedError, () => admitWasm(runtime, bytes));
      const reason = `the answer has ${outputBodyBytes + 1} bytes, more than outputBodyBytes (${outputBodyBytes})`;
      expect(error).toMatchObject({ hook, reason, plugin: 'guest' });
      await expect(admitWasmAsync(runtime, bytes)).rejects.toMatchObject({ code: 'CC_LB_PROBE_FAILED', reason });
    },
  );

  it('accepts an answer of outputBodyBytes, and one of observe of any size', () => {
    const runtime = newRuntime({ wireBounds: { outputBodyBytes: 8 } });
    expect(() => admitWasm(runtime, guest({ metadata: { version: '8.0.0' } }))).not.toThrow();
    const large = guest({ hooks: ['observe'], hook: `i64.const ${(4096n << 32n) | 9n}` });
    expect(() => admitWasm(runtime, large)).not.toThrow();
  });

  it('does not decode the answer of observe', () => {
    for (const packed of ['0', '0x1000000008', '0x0000400000000001']) {
      expect(() => admitWasm(newRuntime(), guest({ hooks: ['observe'], hook: `i64.const ${packed}` }))).not.toThrow();
    }
  });
});

it('keeps no admission waiting for slow probes of other principals', async () => {
  const runtime = isolatedRuntime();
  const controller = new AbortController();
  let settled = 0;
  const slow = Array.from({ length: 6 }, async (_, index) => {
    const bytes = guest({ metadata: { name: `slow-${index}` }, hook: '(loop (br 0)) unreachable' });
    const { signal } = controller;
    await runtime.registerFilterAsync(new SlotKey(`slow-${index}`, 'slow'), 'slow', bytes, { signal }).catch(() => {});
    settled++;
  });
  await expect.poll(() => runtime.stats().inFlight).toBe(6);
  await runtime.registerFilterAsync(new SlotKey('tenant', 'quick'), 'quick', guest());
  // Two of them run concurrently, each until its deadline of 5 s, unless all share one turn.
  expect(settled).toBeLessThan(2);
  controller.abort();
  await Promise.all(slow);
});

it('records a slow probe once', async () => {
  const { sink, take } = recorder();
  const runtime = newRuntime({ deadlineMs: 300 }, { metrics: sink });
  const bytes = guest({ metadata: { name: 'endless' }, hook: '(loop (br 0)) unreachable' });
  await expect(runtime.registerFilterAsync(SlotKey.global('endless'), 'endless', bytes)).rejects.toThrow(/deadline/);
  expect(take()).toEqual(['call (probe) filter', 'trap (probe) filter cc_lb_filter']);
});
