import { describe, expect, it } from 'vitest';
import {
  ClosedError,
  GuestTrapError,
  InvalidArgumentError,
  ModuleRejectedError,
  ObservabilityError,
  SlotKey,
  SlotNotFoundError,
  WasmtimeObservabilityHook,
} from '../../src/index.ts';
import { rejected, thrown } from '../support/errors.ts';
import { guest } from '../support/guest.ts';
import { plugin } from '../support/plugins.ts';
import { newRuntime } from '../support/runtimes.ts';
import { EVENTS, started } from '../support/samples.ts';

const key = new SlotKey('alice', 'k');

function observerOf(name: string): WasmtimeObservabilityHook {
  const runtime = newRuntime();
  return new WasmtimeObservabilityHook(runtime, runtime.registerObserve(key, name, plugin(name)));
}

/** Returns the 64-bit FNV-1a hash in hex, as the reporting guests compute it. */
function fnv(bytes: Uint8Array): string {
  let hash = 0xcbf29ce484222325n;
  for (const byte of bytes) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash.toString(16).padStart(16, '0');
}
const fnvText = (text: string) => fnv(Buffer.from(text));

function words(...values: (bigint | number)[]): Buffer {
  const bytes = Buffer.alloc(values.length * 8);
  for (const [at, value] of values.entries()) bytes.writeBigUInt64LE(BigInt(value), at * 8);
  return bytes;
}

describe.each(['report-0-1-0', 'report-0-1-1', 'report-0-1-2'])('events of an observer, %s', (name) => {
  const observer = () => observerOf(name);
  // The guest traps unless the last field of an event is the digest of the others.
  it.each([
    ['request_started', 'downstreamUserAgent', { requestId: 'r-1', downstreamUserAgent: fnvText('r-1') }],
    ['request_started', 'requestId', { requestId: 'no-agent', downstreamUserAgent: null }],
    ['authn_complete', 'principalId', { principalKind: 'api_key', principalId: fnvText('api_key') }],
    [
      'upstream_chosen',
      'upstream',
      { upstream: { kind: 'anthropic_direct', baseUrl: `https://h/${fnvText('https://h')}` } },
    ],
    ['upstream_chosen', 'upstream', { upstream: { kind: 'anthropic_direct' } }],
    ['chunk', 'totalBytes', { batchIndex: 2n ** 64n - 1n, eventCount: 7, totalBytes: chunkHash(2n ** 64n - 1n, 7) }],
    ['error', 'source', { code: 'c', message: 'é', source: fnv(Buffer.from('c\0é')) }],
  ])('have every field of %s', (type, last, fields) => {
    const event = { type, ...fields } as Parameters<WasmtimeObservabilityHook['observe']>[0];
    expect(observer().observe(event)).toBeUndefined();
    if (type === 'upstream_chosen' && !('baseUrl' in Object(Object(fields).upstream))) return;
    const wrong = {
      ...event,
      [last]:
        last === 'totalBytes'
          ? 1
          : last === 'upstream'
            ? { kind: 'anthropic_direct', baseUrl: 'https://h/x' }
            : 'other',
    };
    expect(observer().observe(wrong as typeof event)).toBeInstanceOf(ObservabilityError);
  });

  it('spell OAuth callers as the PDK of the plugin does', () => {
    const seen = name === 'report-0-1-0' ? 'o_auth_subject' : 'oauth_subject';
    const event = { type: 'authn_complete', principalKind: 'oauth_subject' } as const;
    expect(observer().observe({ ...event, principalId: fnvText(seen) })).toBeUndefined();
    expect(observer().observe({ ...event, principalId: fnvText('other') })).toBeInstanceOf(ObservabilityError);
  });

  it('have every field of request_finished', () => {
    const status = Buffer.alloc(2);
    status.writeUInt16LE(201);
    const some = (n: number) => Buffer.concat([Buffer.of(1), words(n)]);
    const durationMs = BigInt(`0x${fnv(Buffer.concat([status, some(1), Buffer.alloc(9), some(3), Buffer.alloc(9)]))}`);
    const event = {
      type: 'request_finished',
      status: 201,
      inputTokens: 1,
      outputTokens: null,
      cacheCreationInputTokens: 3n,
      cacheReadInputTokens: null,
      durationMs,
    } as const;
    expect(observer().observe(event)).toBeUndefined();
    expect(observer().observe({ ...event, outputTokens: 0 })).toBeInstanceOf(ObservabilityError);
  });
});

function chunkHash(batchIndex: bigint, eventCount: number): bigint {
  return BigInt(`0x${fnv(words(batchIndex, eventCount))}`);
}

describe('WasmtimeObservabilityHook', () => {
  it('accepts all six events, inline and off-thread', async () => {
    const observer = observerOf('lifecycle');
    for (const event of EVENTS) {
      expect(observer.observe(event)).toBeUndefined();
      expect(await observer.observeAsync(event, { where: 'thread' })).toBeUndefined();
    }
  });

  it('returns the failure of the plugin instead of throwing it', async () => {
    const observer = observerOf('misbehave');
    for (const [behavior, cause] of [
      ['unreachable', GuestTrapError],
      ['answer-null-pointer', ModuleRejectedError],
      ['answer-outside', ModuleRejectedError],
    ] as const) {
      const event = started(`do:${behavior}`);
      for (const error of [observer.observe(event), await observer.observeAsync(event, { where: 'thread' })]) {
        expect(error).toBeInstanceOf(ObservabilityError);
        expect(error).toMatchObject({
          code: 'CC_LB_OBSERVABILITY',
          plugin: 'misbehave',
          principal: 'alice',
          versionId: 1,
          hook: 'observe',
        });
        expect(error?.cause).toBeInstanceOf(cause);
      }
    }
    expect(observer.observe(started('do:answer-nothing'))).toBeUndefined();
    expect(observer.observe(started('do:answer-garbage:8'))).toBeUndefined();
  });

  it('returns an error when its slot does not exist', async () => {
    const observer = WasmtimeObservabilityHook.follow(newRuntime(), key);
    for (const error of [observer.observe(started()), await observer.observeAsync(started())]) {
      expect(error).toBeInstanceOf(ObservabilityError);
      expect(error?.cause).toBeInstanceOf(SlotNotFoundError);
    }
  });

  it('throws ClosedError when the runtime is closed', async () => {
    const runtime = newRuntime();
    const observer = new WasmtimeObservabilityHook(
      runtime,
      runtime.registerObserve(key, 'n', guest({ hooks: ['observe'] })),
    );
    runtime.close();
    expect(() => observer.observe(started())).toThrow(ClosedError);
    await rejected(ClosedError, observer.observeAsync(started()));
  });

  it.each<[string, unknown]>([
    ['event', undefined],
    ['event', 'request_started'],
    ['type', {}],
    ['type', { type: 'RequestStarted' }],
    ['type', { type: 'constructor' }],
    ['requestId', { type: 'request_started', downstreamUserAgent: null }],
    ['downstreamUserAgent', { type: 'request_started', requestId: 'r', downstreamUserAgent: 5 }],
    ['principalId', { ...EVENTS[1], principalId: 5 }],
    ['upstream', { type: 'upstream_chosen' }],
    ['upstream.kind', { type: 'upstream_chosen', upstream: {} }],
    ['batchIndex', { ...EVENTS[3], batchIndex: -1 }],
    ['eventCount', { ...EVENTS[3], eventCount: '5' }],
    ['totalBytes', { ...EVENTS[3], totalBytes: 2 ** 53 }],
    ['status', { ...EVENTS[4], status: 70_000 }],
    ['durationMs', { ...EVENTS[4], durationMs: 0.5 }],
    ['message', { ...EVENTS[5], message: '\udc00' }],
  ])('throws InvalidArgumentError with path %s', async (path, event) => {
    const observer = observerOf('lifecycle');
    const error = thrown(InvalidArgumentError, () => Reflect.apply(observer.observe, observer, [event]));
    expect(error.path).toBe(path);
    const call = Reflect.apply(observer.observeAsync, observer, [event, { where: 'thread' }]);
    expect((await rejected(InvalidArgumentError, call)).path).toBe(path);
  });
});
