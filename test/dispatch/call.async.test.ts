import { AsyncLocalStorage } from 'node:async_hooks';
import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import {
  ClosedError,
  FilterError,
  type HotEngineConfigInput,
  InvalidArgumentError,
  SlotKey,
  WasmtimeFilterPlugin,
  WasmtimeUpstreamDialect,
} from '../../src/index.ts';
import { rejected } from '../support/errors.ts';
import { plugin } from '../support/plugins.ts';
import { newRuntime, recorder } from '../support/runtimes.ts';
import { caller, candidates, request, upstream } from '../support/samples.ts';
import { detach, resizable } from '../support/views.ts';

const key = SlotKey.global('k');
const LOOP = caller({ do: 'loop' });

function guestOf(name: string, config?: HotEngineConfigInput) {
  const { sink, take } = recorder();
  const runtime = newRuntime(config, { metrics: sink });
  const filter = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key, name, plugin(name)));
  take();
  return { runtime, filter, take };
}

function shapeOf(name: string) {
  const { sink, take } = recorder();
  const runtime = newRuntime({}, { metrics: sink });
  const dialect = new WasmtimeUpstreamDialect(runtime, runtime.registerShape(key, name, plugin(name)));
  take();
  return { dialect, take };
}

describe('where a call runs', () => {
  const KIB = 1024;
  // A call on this thread is over when its promise is returned.
  it.each([
    ['inline', 2000 * KIB, true],
    ['thread', 0, false],
    ['auto', 0, true],
    ['auto', 128 * KIB - 1, true],
    ['auto', 128 * KIB, false],
    [undefined, 128 * KIB, false],
  ] as const)('with %s and %d bytes is this thread: %s', async (where, bytes, here) => {
    const { filter, take, runtime } = guestOf('cache-aware');
    const call = filter.filterAsync(request({ body: Buffer.alloc(bytes) }), caller(), candidates(2), { where });
    expect(take()).toEqual(here ? ['call cache-aware filter'] : []);
    expect(runtime.stats().inFlight).toBe(here ? 0 : 1);
    expect((await call).keptUpstreamIds).toHaveLength(1);
    expect(take()).toEqual(here ? [] : ['call cache-aware filter']);
    expect(runtime.stats().inFlight).toBe(0);
  });

  it('is another one from fewer bytes on for a shape, whose answer is as large', async () => {
    for (const [bytes, here] of [
      [16 * KIB - 1, true],
      [16 * KIB, false],
    ] as const) {
      const { dialect, take } = shapeOf('echo');
      const call = dialect.shapeAsync(request({ body: Buffer.alloc(bytes) }), upstream, caller());
      expect(take()).toEqual(here ? ['call echo shape'] : []);
      await call;
    }
  });

  it('makes no difference to the answer', async () => {
    const { filter } = guestOf('cache-aware');
    const args = [request(), caller({ keep: 2 }), candidates(5)] as const;
    const sync = filter.filter(...args);
    expect(await filter.filterAsync(...args, { where: 'thread' })).toEqual(sync);
    expect(await filter.filterAsync(...args, { where: 'inline' })).toEqual(sync);
  });

  it('leaves the event loop alone on another thread', async () => {
    const { filter } = guestOf('misbehave', { deadlineMs: 200 });
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    await rejected(FilterError, filter.filterAsync(request(), LOOP, [], { where: 'thread' }));
    clearInterval(timer);
    expect(turns).toBeGreaterThan(20);
  });
});

describe('a call on another thread', () => {
  it('does not care what becomes of the caller’s buffers', async () => {
    const { dialect } = shapeOf('echo');
    const body = Buffer.alloc(300_000, 1);
    const value = Buffer.from('first');
    const headers: [string, Uint8Array][] = [['x-a', value]];
    const small = Uint8Array.of(1, 2, 3);
    const calls = [
      dialect.shapeAsync(request({ body, headers }), upstream, caller()),
      dialect.shapeAsync(request({ body: small, headers }), upstream, caller(), { where: 'thread' }),
    ];
    body.fill(2);
    value.write('other');
    headers.length = 0;
    detach(small);
    const [large, tiny] = await Promise.all(calls);
    expect(Buffer.alloc(300_000, 1).equals(large!.body)).toBe(true);
    expect(tiny?.body).toEqual(Uint8Array.of(1, 2, 3));
    for (const shaped of [large, tiny]) expect(shaped?.headers).toContainEqual(['x-a', 'first']);
  });

  it('refuses memory that is gone and memory that is shared', async () => {
    const { dialect } = shapeOf('echo');
    const detached = new Uint8Array(1000);
    detach(detached);
    const buffer = resizable(1000, 1000);
    const shrunk = new Uint8Array(buffer, 500, 100);
    buffer.resize(200);
    for (const where of ['inline', 'thread'] as const) {
      for (const body of [detached, shrunk]) {
        const call = dialect.shapeAsync(request({ body }), upstream, caller(), { where });
        expect((await rejected(InvalidArgumentError, call)).message).toMatch(/^body: .*is detached or has shrunk/);
      }
      const empty = await dialect.shapeAsync(request({ body: new Uint8Array(0) }), upstream, caller(), { where });
      expect(empty.body).toHaveLength(0);
      const shared = request({ body: new Uint8Array(new SharedArrayBuffer(300_000)) });
      const error = await rejected(InvalidArgumentError, dialect.shapeAsync(shared, upstream, caller(), { where }));
      expect(error.message).toMatch(/^body: .*SharedArrayBuffer/);
    }
  });

  it('refuses a body that a getter takes away while it is encoded', async () => {
    const { dialect } = shapeOf('echo');
    for (const where of ['inline', 'thread'] as const) {
      const body = new Uint8Array(1000);
      const principal = {
        ...caller(),
        get id() {
          detach(body);
          return 'p';
        },
      };
      // Whichever came first, the body or its end: never memory that is gone.
      const shaped = await dialect
        .shapeAsync(request({ body }), upstream, principal, { where })
        .catch((error) => error);
      if (shaped instanceof Error) expect(shaped).toBeInstanceOf(InvalidArgumentError);
      else expect(shaped.body).toHaveLength(0);
    }
  });

  it('keeps the caller’s async context', async () => {
    const storage = new AsyncLocalStorage<number>();
    const seen: (number | undefined)[] = [];
    const runtime = newRuntime(
      {},
      {
        metrics: {
          call: () => void seen.push(storage.getStore()),
          trap() {},
          saturation() {},
          gauge() {},
        },
      },
    );
    const filter = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key, 'n', plugin('cache-aware')));
    seen.length = 0;
    // More than there are places, so that some of them are started by others' ends.
    const calls = Array.from({ length: 12 }, (_, n) =>
      storage.run(n, async () => {
        await filter.filterAsync(request(), caller(), candidates(1), { where: 'thread' });
        return storage.getStore();
      }),
    );
    expect(await Promise.all(calls)).toEqual(Array.from({ length: 12 }, (_, n) => n));
    expect(seen.sort((a, b) => a! - b!)).toEqual(Array.from({ length: 12 }, (_, n) => n));
  });

  it('ends on the version that it began with, whatever becomes of the slot', async () => {
    const { runtime } = guestOf('cache-aware');
    const follow = WasmtimeFilterPlugin.follow(runtime, key);
    const kept = async () =>
      (await follow.filterAsync(request(), caller(), candidates(4), { where: 'thread' })).keptUpstreamIds.length;
    const before = Array.from({ length: 10 }, kept);
    runtime.registerFilter(key, 'v2', plugin('cache-aware-v2'));
    const between = Array.from({ length: 10 }, kept);
    runtime.evictSlot(key);
    await rejected(FilterError, kept());
    expect(await Promise.all(before)).toEqual(Array(10).fill(1));
    expect(await Promise.all(between)).toEqual(Array(10).fill(2));
  });

  it('goes on when the runtime closes, and draining waits for it', async () => {
    const { runtime, filter } = guestOf('cache-aware');
    const calls = Array.from({ length: 20 }, () =>
      filter.filterAsync(request(), caller(), candidates(3), { where: 'thread' }),
    );
    runtime.close();
    await rejected(ClosedError, filter.filterAsync(request(), caller(), [], { where: 'thread' }));
    let ended = 0;
    for (const call of calls) call.then(() => ended++);
    await runtime.drain();
    await new Promise(setImmediate);
    expect(ended).toBe(20);
    expect(runtime.stats()).toMatchObject({ inFlight: 0, queued: 0 });
  });
});

describe('a signal', () => {
  const aborting = (delay: number) => {
    const controller = new AbortController();
    const reason = new Error('enough');
    setTimeout(() => controller.abort(reason), delay);
    return { signal: controller.signal, reason };
  };

  it.each(['inline', 'thread', 'auto'] as const)('that was aborted before means no call (%s)', async (where) => {
    const { filter, take } = guestOf('misbehave');
    const reason = new Error('before');
    const call = filter.filterAsync(request(), LOOP, [], { where, signal: AbortSignal.abort(reason) });
    expect(await rejected(Error, call)).toBe(reason);
    expect(take()).toEqual([]);
  });

  it('interrupts a running guest, which is no trap', async () => {
    const { runtime, filter, take } = guestOf('misbehave', { deadlineMs: 30_000 });
    const { signal, reason } = aborting(50);
    const began = performance.now();
    const call = filter.filterAsync(request(), LOOP, [], { where: 'thread', signal });
    expect(await rejected(Error, call)).toBe(reason);
    expect(performance.now() - began).toBeLessThan(10_000);
    expect(take().filter((line) => line.startsWith('trap'))).toEqual([]);
    await expect.poll(() => runtime.stats().engine.running).toBe(0);
    expect(runtime.stats()).toMatchObject({ inFlight: 0, queued: 0, engine: { stagedBytes: 0 } });
  });

  it('takes a waiting call out of the queue', async () => {
    const { runtime, filter, take } = guestOf('misbehave', { deadlineMs: 300 });
    const running = Array.from({ length: 4 }, () =>
      filter.filterAsync(request(), LOOP, [], { where: 'thread' }).catch(() => 'expired'),
    );
    const controller = new AbortController();
    const waiting = filter.filterAsync(request(), caller(), [], { where: 'thread', signal: controller.signal });
    const { queued } = runtime.stats();
    expect(queued).toBeGreaterThan(0);
    controller.abort();
    expect(runtime.stats().queued).toBe(queued - 1);
    expect((await rejected(DOMException as unknown as typeof Error, waiting)).name).toBe('AbortError');
    await Promise.all(running);
    expect(take().filter((line) => line.startsWith('call'))).toHaveLength(running.length);
    expect(runtime.stats().engine.stagedBytes).toBe(0);
  });

  it('that is aborted after the answer changes nothing', async () => {
    const { filter } = guestOf('cache-aware');
    const controller = new AbortController();
    const options = { where: 'thread', signal: controller.signal } as const;
    expect((await filter.filterAsync(request(), caller(), candidates(1), options)).keptUpstreamIds).toHaveLength(1);
    controller.abort();
  });

  it('may be shared by many calls: Node warns of no leak, and no listener stays', async () => {
    const { filter } = guestOf('cache-aware');
    const { signal } = new AbortController();
    const warnings: Error[] = [];
    const warned = (warning: Error) => void warnings.push(warning);
    process.on('warning', warned);
    const options = { where: 'thread', signal } as const;
    const calls = Array.from({ length: 20 }, () => filter.filterAsync(request(), caller(), [], options));
    expect(getEventListeners(signal, 'abort')).toHaveLength(1);
    await Promise.all(calls);
    expect(getEventListeners(signal, 'abort')).toEqual([]);
    process.off('warning', warned);
    expect(warnings).toEqual([]);
  });

  it('that a getter aborts while the request is encoded means no call', async () => {
    const { runtime, filter, take } = guestOf('misbehave', { deadlineMs: 5000 });
    for (const where of ['inline', 'thread'] as const) {
      const controller = new AbortController();
      const reason = new Error('from within');
      const candidate = {
        ...candidates(1)[0]!,
        get name() {
          controller.abort(reason);
          return 'n';
        },
      };
      const began = performance.now();
      const call = filter.filterAsync(request(), LOOP, [candidate], { where, signal: controller.signal });
      expect(await rejected(Error, call)).toBe(reason);
      expect(performance.now() - began).toBeLessThan(2500);
      expect(take()).toEqual([]);
      expect(runtime.stats().engine.stagedBytes).toBe(0);
    }
  });
});
