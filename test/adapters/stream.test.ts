import { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { describe, expect, it } from 'vitest';
import {
  type HotEngineConfigInput,
  InvalidArgumentError,
  PluginChain,
  PoolSaturatedError,
  ResponseTransformError,
  SlotKey,
  type SlotOptions,
  type TransformContext,
  WasmtimeUpstreamDialect,
} from '../../src/index.ts';
import { rejected, thrown } from '../support/errors.ts';
import { guest, misbehavesAfterProbe } from '../support/guest.ts';
import { plugin } from '../support/plugins.ts';
import { isolatedRuntime } from '../support/runtimes.ts';
import { caller, exchange } from '../support/samples.ts';

const key = new SlotKey('tenant', 'masker');
const STREAM: SlotOptions = { instance: 'stream' };
const HOOKS = ['shape', 'transform_response', 'transform_sse_event'] as const;
const context = exchange();
const owner = (data: string) => ({ event: 'owner', data: Buffer.from(data) });
const text = (data: string) => ({ event: 'message', data: Buffer.from(data) });

function dialectOf(bytes: Uint8Array, options: SlotOptions = STREAM, config: HotEngineConfigInput = {}) {
  const runtime = isolatedRuntime(config);
  const slot = runtime.registerShape(key, 'masker', bytes, options);
  return { runtime, slot, dialect: WasmtimeUpstreamDialect.follow(runtime, key) };
}

/** Returns the answer to an event named `owner`: the data of the first such event of the instance. */
async function ownerOf(stream: ReturnType<WasmtimeUpstreamDialect['openSseStream']>, data: string): Promise<string> {
  const answer = await stream.transform(owner(data));
  if (answer.kind !== 'replace') throw new Error('expected a replacement');
  return Buffer.from(answer.events[0]!.data).toString();
}

describe('a stream-scoped instance', () => {
  it('keeps its state between the events of one stream and shares it with no other stream', async () => {
    const { dialect, runtime } = dialectOf(plugin('masker'));
    const [one, two] = [dialect.openSseStream(context), dialect.openSseStream(context)];
    expect(await ownerOf(one, 'first')).toBe('first');
    expect(await ownerOf(two, 'second')).toBe('second');
    expect(await ownerOf(one, 'third')).toBe('first');
    expect(await ownerOf(two, 'fourth')).toBe('second');
    expect(runtime.stats().engine.streamBytes).toBeGreaterThan(0);
    one.close();
    two.close();
    expect(runtime.stats().engine.streamBytes).toBe(0);
    const next = dialect.openSseStream(context);
    expect(await ownerOf(next, 'fifth')).toBe('fifth');
    next.close();
  });

  it('transforms events inline and off the thread', async () => {
    const { dialect } = dialectOf(plugin('masker'));
    const stream = dialect.openSseStream(context);
    for (const where of ['inline', 'thread', 'auto', 'thread'] as const) {
      const answer = await stream.transform(owner(where), { where });
      if (answer.kind !== 'replace') throw new Error('expected a replacement');
      expect(Buffer.from(answer.events[0]!.data).toString()).toBe('inline');
    }
  });

  it("is replaced by a fresh instance for each event with instance: 'event'", async () => {
    const { dialect, runtime } = dialectOf(plugin('masker'), { instance: 'event' });
    const stream = dialect.openSseStream(context);
    expect(await ownerOf(stream, 'first')).toBe('first');
    expect(await ownerOf(stream, 'second')).toBe('second');
    expect(runtime.stats().engine.streamBytes).toBe(0);
  });

  it('is ended by the first failed event', async () => {
    const bytes = guest({ hooks: HOOKS, hook: { transform_sse_event: misbehavesAfterProbe('unreachable') } });
    const { dialect, runtime, slot } = dialectOf(bytes);
    const stream = dialect.openSseStream(context);
    expect(await stream.transform(text('short'))).toEqual({ kind: 'unchanged' });
    const failure = await rejected(ResponseTransformError, stream.transform(text('x'.repeat(4096))));
    expect(failure.kind).toBe('trap');
    expect(runtime.stats().engine.streamBytes).toBe(0);
    expect((await rejected(ResponseTransformError, stream.transform(text('short')))).message).toContain('ended');
    expect(slot.status.failures.trap).toBe(1);
  });

  it('has the full deadline for each event, and moves off the thread after a long event', async () => {
    const bytes = guest({
      hooks: HOOKS,
      hook: { transform_sse_event: misbehavesAfterProbe('(loop $again (br $again)) (i64.const 0)') },
    });
    const { dialect, runtime } = dialectOf(bytes, STREAM, { deadlineMs: 60, inlineSliceMs: 2 });
    const first = dialect.openSseStream(context);
    const call = first.transform(text('x'.repeat(4096)));
    // The call is not interrupted at the end of a slice.
    expect(runtime.stats().inFlight).toBe(0);
    expect((await rejected(ResponseTransformError, call)).cause).toMatchObject({ trap: 'interrupt' });
    const second = dialect.openSseStream(context).transform(text('x'.repeat(4096)));
    expect(runtime.stats().inFlight).toBe(1);
    await rejected(ResponseTransformError, second);
  });

  it('uses the version that was current when its stream was opened', async () => {
    const { dialect, runtime } = dialectOf(plugin('masker'));
    const stream = dialect.openSseStream(context);
    expect(await ownerOf(stream, 'first')).toBe('first');
    runtime.registerShape(key, 'noop', plugin('transforms-noop'), STREAM);
    expect(await ownerOf(stream, 'second')).toBe('first');
    runtime.evictSlot(key);
    expect(await ownerOf(stream, 'third')).toBe('first');
    stream.close();
  });

  it('rejects events while its plugin is disabled, and continues when it is enabled', async () => {
    const { dialect, runtime } = dialectOf(plugin('masker'));
    const stream = dialect.openSseStream(context);
    await ownerOf(stream, 'first');
    runtime.disable(key, 'stop');
    expect((await rejected(ResponseTransformError, stream.transform(owner('x')))).message).toContain('disabled');
    runtime.enable(key);
    expect(await ownerOf(stream, 'second')).toBe('first');
  });

  it('can be closed while an event runs', async () => {
    const bytes = guest({
      hooks: HOOKS,
      hook: { transform_sse_event: misbehavesAfterProbe('(loop $again (br $again)) (i64.const 0)') },
    });
    const { dialect, runtime } = dialectOf(bytes, STREAM, { deadlineMs: 100 });
    const stream = dialect.openSseStream(context);
    const call = stream.transform(text('x'.repeat(4096)), { where: 'thread' });
    stream.close();
    await rejected(ResponseTransformError, call);
    expect(runtime.stats().engine.streamBytes).toBe(0);
    expect((await rejected(ResponseTransformError, stream.transform(text('')))).message).toContain('ended');
  });

  it('rejects an event while another one runs', async () => {
    const { dialect } = dialectOf(plugin('masker'));
    const stream = dialect.openSseStream(context);
    const first = stream.transform(owner('a'), { where: 'thread' });
    await rejected(InvalidArgumentError, stream.transform(owner('b')));
    await first;
  });
});

describe('the budget of stream-scoped instances', () => {
  it('limits a principal to as many bytes as remain unused, so that another principal has some', async () => {
    const { dialect } = dialectOf(plugin('masker'));
    const probe = dialect.openSseStream(context);
    await ownerOf(probe, 'x');
    probe.close();
    const { runtime: small, dialect: limited } = dialectOf(guest({ hooks: HOOKS, memory: '1' }), STREAM, {
      maxStreamBytes: 4 * 65_536,
    });
    const open = async (id: string) => {
      const stream = limited.openSseStream({ ...context, principal: { ...caller(), id } });
      await stream.transform(text('a'));
      return stream;
    };
    const held = [await open('a'), await open('a')];
    const { cause } = await rejected(ResponseTransformError, open('a'));
    expect(cause).toBeInstanceOf(PoolSaturatedError);
    expect(cause).toMatchObject({ resource: 'streams', retryable: true });
    held.push(await open('b'));
    expect(small.stats().engine.streamBytes).toBeGreaterThanOrEqual(3 * 65_536);
    for (const stream of held) stream.close();
    expect(small.stats().engine.streamBytes).toBe(0);
    await open('a');
  });
});

describe('a chain', () => {
  const SPLIT = ['data: my key is sk-se\n\n', 'data: cr\n\n', 'data: et, keep it\n\n'];

  async function relayed(options: SlotOptions): Promise<string> {
    const { dialect, runtime } = dialectOf(plugin('masker'), options);
    const outcome = new PluginChain({ shape: dialect }).transformEvents(context);
    if (outcome.kind !== 'transforming') throw new Error('expected a transformer');
    const { transformer } = outcome;
    let received = '';
    const client = new Writable({
      write(chunk, _encoding, done) {
        received += chunk;
        done();
      },
    });
    await pipeline(Readable.from(SPLIT.map((event) => Buffer.from(event))), transformer, client);
    expect(transformer.failure).toBeUndefined();
    expect(runtime.stats().engine.streamBytes).toBe(0);
    return received.replaceAll(/data: |\n/g, '');
  }

  it("masks a secret that is split over three events with instance: 'stream'", async () => {
    expect(await relayed({ instance: 'stream' })).toBe('my key is *********, keep it');
  });

  it("does not mask a split secret with instance: 'event', because each instance receives one event", async () => {
    expect(await relayed({ instance: 'event' })).not.toContain('*');
  });
});

describe('openSseStream with invalid input', () => {
  it('rejects the option instance for a filter or an observer', () => {
    const runtime = isolatedRuntime();
    for (const register of [runtime.registerFilter, runtime.registerObserve]) {
      const error = thrown(InvalidArgumentError, () => register.call(runtime, key, 'x', plugin('misbehave'), STREAM));
      expect(error.path).toBe('options.instance');
    }
  });

  it('rejects a context without a principal', () => {
    const { dialect } = dialectOf(plugin('masker'));
    expect(() => dialect.openSseStream({} as TransformContext)).toThrow(InvalidArgumentError);
    expect(() => dialect.openSseStream(null as unknown as TransformContext)).toThrow(InvalidArgumentError);
  });
});
