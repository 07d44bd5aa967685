import { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { describe, expect, it } from 'vitest';
import {
  InvalidArgumentError,
  PluginChain,
  type PluginFailurePolicy,
  ResponseTransformError,
  SlotKey,
  WasmtimeUpstreamDialect,
} from '../src/index.ts';
import { guest, misbehavesAfterProbe } from './support/guest.ts';
import { newRuntime } from './support/runtimes.ts';
import { response } from './support/samples.ts';

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
      headers: input.headers,
      body: input.body,
    });
    expect(answering({ status: 103 })).toMatchObject({ kind: 'unavailable', code: 'plugin_failed' });
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

  it('throw for an invalid context', () => {
    expect(() => chainOf('pass-through').chain.transformEvents({ ...input, status: -1 })).toThrow(InvalidArgumentError);
  });

  it('are passed through without a shape', () => {
    expect(new PluginChain({}).transformEvents(input)).toEqual({ kind: 'passed-through' });
  });
});
