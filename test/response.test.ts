import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { describe, expect, it } from 'vitest';
import {
  InvalidArgumentError,
  PluginChain,
  type PluginFailurePolicy,
  ResponseTransformError,
  SlotKey,
  type SlotOptions,
  SseTransformer,
  WasmtimeFilterPlugin,
  WasmtimeUpstreamDialect,
} from '../src/index.ts';
import { transformResponseResult } from '../src/wire/messages/transform.ts';
import { instanceWithGetters } from './support/classes.ts';
import { encodeToBytes } from './support/encode.ts';
import { answerAt, guest, misbehavesAfterProbe } from './support/guest.ts';
import { plugin } from './support/plugins.ts';
import { newRuntime } from './support/runtimes.ts';
import { caller, candidates, request, response, upstream } from './support/samples.ts';

const key = new SlotKey('tenant', 'shape');
const HOOKS = ['shape', 'transform_response', 'transform_sse_event'] as const;
const input = response({ status: 201, headers: [['content-type', 'text/plain']], body: Buffer.alloc(4096) });

/** A chain whose transforms trap for requests that are longer than a probe's. */
function chainOf(failurePolicy: PluginFailurePolicy, transform = misbehavesAfterProbe('unreachable')) {
  const runtime = newRuntime();
  const bytes = guest({
    hooks: HOOKS,
    hook: { transform_response: transform, transform_sse_event: transform },
  });
  const slot = runtime.registerShape(key, 'transforms', bytes, { failurePolicy });
  return { slot, chain: new PluginChain({ shape: new WasmtimeUpstreamDialect(runtime, slot) }) };
}

describe('PluginChain.transformResponse', () => {
  it('passes the response through if the plugin leaves it unchanged or there is no plugin', async () => {
    const { chain } = chainOf('fail-closed', '$answer');
    expect(chain.transformResponse(input)).toEqual({ kind: 'passed-through' });
    expect(await new PluginChain({}).transformResponseAsync(input)).toEqual({ kind: 'passed-through' });
  });

  it('passes the original through after a failure under pass-through', async () => {
    const { chain, slot } = chainOf('pass-through');
    for (const outcome of [chain.transformResponse(input), await chain.transformResponseAsync(input)]) {
      if (outcome.kind !== 'passed-through') throw new Error('expected the original');
      expect(outcome.error).toBeInstanceOf(ResponseTransformError);
    }
    expect(slot.status.passThroughs).toBe(2);
  });

  it('returns 503 after a failure under fail-closed', async () => {
    const { chain, slot } = chainOf('fail-closed');
    const stopped = { kind: 'unavailable', code: 'plugin_failed', status: 503 };
    expect(chain.transformResponse(input)).toMatchObject(stopped);
    expect(await chain.transformResponseAsync(input)).toMatchObject(stopped);
    expect(slot.status.passThroughs).toBe(0);
  });

  it('keeps omitted parts of the original, and rejects an informational status', () => {
    const answering = (answer: object) => {
      const stage = {
        pluginName: 'p',
        failurePolicy: 'fail-closed' as const,
        shape: () => {},
        shapeAsync: () => {},
        transformResponse: () => ({ kind: 'replace', ...answer }),
        transformResponseAsync: () => {},
      };
      return new PluginChain({ shape: stage as never }).transformResponse(input);
    };
    expect(answering({ status: 418 })).toEqual({
      kind: 'transformed',
      status: 418,
      headers: [
        ['content-type', 'text/plain'],
        ['content-length', '4096'],
      ],
      body: input.body,
    });
    expect(answering({ status: 103 })).toMatchObject({ kind: 'unavailable', code: 'plugin_failed' });
  });

  it('keeps the headers of a one-shot iterator and of a class instance, after the plugin has read them', async () => {
    const answer = encodeToBytes(transformResponseResult, { kind: 'replace', status: 418, headers: null, body: null });
    const { fields: data, hook } = answerAt(65_536, answer);
    const runtime = newRuntime();
    const bytes = guest({ hooks: HOOKS, fields: data, hook: { transform_response: hook } });
    const slot = runtime.registerShape(key, 'status', bytes);
    const chain = new PluginChain({ shape: new WasmtimeUpstreamDialect(runtime, slot) });
    const { headers: _, ...fields } = response({ body: Buffer.from('body') });
    const once = () => instanceWithGetters({ ...fields, headers: new Headers({ a: '1' }).entries() });
    const expected = {
      kind: 'transformed',
      status: 418,
      headers: [
        ['a', '1'],
        ['content-length', '4'],
      ],
    };
    expect(chain.transformResponse(once())).toMatchObject(expected);
    expect(await chain.transformResponseAsync(once())).toMatchObject(expected);
    expect(() => chain.transformResponse(null as never)).toThrow(expect.objectContaining({ path: 'input' }));
  });

  it('applies the policy to an encoded body, which the plugin does not receive', async () => {
    const encoded = { ...input, headers: { 'Content-Encoding': 'br' } };
    const open = chainOf('pass-through', '$answer');
    for (const outcome of [open.chain.transformResponse(encoded), await open.chain.transformResponseAsync(encoded)]) {
      expect(outcome).toEqual({ kind: 'passed-through', error: expect.any(ResponseTransformError) });
    }
    expect(open.slot.status).toMatchObject({ passThroughs: 2, calls: 0 });
    const stopped = { kind: 'unavailable', code: 'plugin_failed', status: 503 };
    expect(chainOf('fail-closed', '$answer').chain.transformResponse(encoded)).toMatchObject(stopped);
  });

  it('rethrows errors to which no policy applies', async () => {
    const { chain } = chainOf('pass-through');
    const bad = { ...input, status: -1 };
    expect(() => chain.transformResponse(bad)).toThrow(InvalidArgumentError);
    await expect(chain.transformResponseAsync(bad)).rejects.toThrow(InvalidArgumentError);
    const signal = AbortSignal.abort(new Error('left'));
    await expect(chain.transformResponseAsync(input, { signal })).rejects.toThrow('left');
  });
});

describe('PluginChain streams', () => {
  const stream = `data: ${'x'.repeat(4096)}\n\n`;

  async function relayed(policy: PluginFailurePolicy): Promise<string> {
    const { chain } = chainOf(policy);
    const outcome = chain.transformEvents(input);
    if (outcome.kind !== 'transforming') throw new Error('expected a transformer');
    const { transformer } = outcome;
    let text = '';
    const client = new Writable({
      write(chunk, _encoding, done) {
        text += chunk;
        done();
      },
    });
    await pipeline(Readable.from([Buffer.from(stream)]), transformer, client);
    expect(transformer.failure).toBeInstanceOf(ResponseTransformError);
    return text;
  }

  it('passes the original through after a failure under pass-through', async () => {
    expect(await relayed('pass-through')).toBe(stream);
  });

  it('end with an error event under fail-closed, without a byte of the original', async () => {
    const text = await relayed('fail-closed');
    expect(text).toMatch(/^event: error\n/);
    expect(text).not.toContain('xx');
  });

  it('are passed through, or unavailable under fail-closed, before the first byte if they are encoded', () => {
    const encoded = { ...input, headers: [['content-encoding', 'gzip, identity']] as [string, string][] };
    const open = chainOf('pass-through');
    expect(open.chain.transformEvents(encoded)).toEqual({
      kind: 'passed-through',
      error: expect.any(ResponseTransformError),
    });
    expect(open.slot.status).toMatchObject({ passThroughs: 1, calls: 0 });
    const stopped = { kind: 'unavailable', code: 'plugin_failed', status: 503 };
    expect(chainOf('fail-closed').chain.transformEvents(encoded)).toMatchObject(stopped);
    const plain = { ...input, headers: [['content-encoding', 'Identity']] as [string, string][] };
    expect(open.chain.transformEvents(plain).kind).toBe('transforming');
  });

  it.each(['rewrite', 'transforms-noop'])('are passed through without an active transform: %s', async (name) => {
    const encoded = { ...input, headers: [['content-encoding', 'gzip']] as [string, string][] };
    for (const instance of ['event', 'stream'] as const) {
      const runtime = newRuntime();
      const options = { failurePolicy: 'fail-closed', instance } as const;
      const dialect = new WasmtimeUpstreamDialect(runtime, runtime.registerShape(key, name, plugin(name), options));
      expect(new PluginChain({ shape: dialect }).transformEvents(encoded)).toEqual({ kind: 'passed-through' });
      const transformer = new SseTransformer(dialect, encoded, { maxEventBytes: 10 });
      transformer.end(Buffer.alloc(100, 0x1f));
      expect(Buffer.concat(await transformer.toArray())).toEqual(Buffer.alloc(100, 0x1f));
      expect(transformer.failure).toBeUndefined();
    }
  });

  it('throw for an invalid context', () => {
    expect(() => chainOf('pass-through').chain.transformEvents({ ...input, status: -1 })).toThrow(InvalidArgumentError);
  });

  it('are passed through without a shape', () => {
    expect(new PluginChain({}).transformEvents(input)).toEqual({ kind: 'passed-through' });
  });
});

describe('the failure policy of a slot that is evicted or replaced during a call', () => {
  const stopped = { kind: 'unavailable', code: 'plugin_failed', status: 503 };
  const closed: SlotOptions = { failurePolicy: 'fail-closed' };
  const traps = misbehavesAfterProbe('unreachable');

  it('is the policy at the start of the call', async () => {
    const runtime = newRuntime();
    const filterKey = new SlotKey('tenant', 'filter');
    runtime.registerFilter(filterKey, 'filter', guest({ hook: traps }), closed);
    const shape = guest({ hooks: HOOKS, hook: { shape: traps, transform_response: traps } });
    runtime.registerShape(key, 'shape', shape, closed);
    const chain = new PluginChain({
      filters: [WasmtimeFilterPlugin.follow(runtime, filterKey)],
      shape: WasmtimeUpstreamDialect.follow(runtime, key),
    });
    const ctx = request({ body: Buffer.alloc(4096) });
    const where = { where: 'thread' } as const;
    const calls = [
      chain.filterAsync(ctx, caller(), candidates(2), where),
      chain.shapeAsync(ctx, upstream, caller(), where),
      chain.transformResponseAsync(input, where),
    ];
    runtime.registerShape(key, 'shape', plugin('echo'), { failurePolicy: 'pass-through' });
    runtime.evictSlot(filterKey);
    for (const outcome of await Promise.all(calls)) expect(outcome).toMatchObject(stopped);
  });

  it('is the policy at the start of the call on the calling thread, where a listener may evict the slot', () => {
    const runtime = newRuntime();
    runtime.registerFilter(key, 'filter', guest({ hook: traps }), closed);
    const chain = new PluginChain({ filters: [WasmtimeFilterPlugin.follow(runtime, key)] });
    const evict = () => runtime.evictSlot(key);
    subscribe('cc-lb-runtime-wasmtime:trap', evict);
    const outcome = chain.filter(request({ body: Buffer.alloc(4096) }), caller(), candidates(2));
    unsubscribe('cc-lb-runtime-wasmtime:trap', evict);
    expect(runtime.getSlot(key)).toBeUndefined();
    expect(outcome).toMatchObject(stopped);
  });

  it.each(['event', 'stream'] as const)('is the policy when a stream was opened (%s)', async (instance) => {
    const runtime = newRuntime();
    runtime.registerShape(key, 'masker', plugin('masker'), { ...closed, instance });
    const outcome = new PluginChain({ shape: WasmtimeUpstreamDialect.follow(runtime, key) }).transformEvents(input, {
      maxEventBytes: 100,
    });
    if (outcome.kind !== 'transforming') throw new Error('expected a transformer');
    runtime.retainSlots([]);
    outcome.transformer.end(`data: sk-secret ${'x'.repeat(200)}\n\n`);
    const text = Buffer.concat(await outcome.transformer.toArray()).toString();
    expect(text).toMatch(/^event: error\n/);
    expect(text).not.toContain('sk-secret');
  });
});
