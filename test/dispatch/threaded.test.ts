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

describe('where', () => {
  const KIB = 1024;
  // An inline call has finished when its promise is returned.
  it.each([
    ['inline', 4096 * KIB, true],
    ['thread', 0, false],
    ['auto', 0, true],
    ['auto', 2048 * KIB - 1, true],
    ['auto', 2048 * KIB, false],
    [undefined, 2048 * KIB, false],
  ] as const)('with %s and %d bytes is this thread: %s', async (where, bytes, here) => {
    const { filter, take, runtime } = guestOf('cache-aware');
    const call = filter.filterAsync(request({ body: Buffer.alloc(bytes) }), caller(), candidates(2), { where });
    expect(take()).toEqual(here ? ['call cache-aware filter'] : []);
    expect(runtime.stats().inFlight).toBe(here ? 0 : 1);
    expect((await call).keptUpstreamIds).toHaveLength(1);
    expect(take()).toEqual(here ? [] : ['call cache-aware filter']);
    expect(runtime.stats().inFlight).toBe(0);
  });

  it('auto selects another thread from 512 KiB on for a shape, whose answer is as large as its request', async () => {
    for (const [bytes, here] of [
      [512 * KIB - 1, true],
      [512 * KIB, false],
    ] as const) {
      const { dialect, take } = shapeOf('echo');
      const call = dialect.shapeAsync(request({ body: Buffer.alloc(bytes) }), upstream, caller());
      expect(take()).toEqual(here ? ['call echo shape'] : []);
      await call;
    }
  });

  it('does not affect the answer', async () => {
    const { filter } = guestOf('cache-aware');
    const args = [request(), caller({ keep: 2 }), candidates(5)] as const;
    const sync = filter.filter(...args);
    expect(await filter.filterAsync(...args, { where: 'thread' })).toEqual(sync);
    expect(await filter.filterAsync(...args, { where: 'inline' })).toEqual(sync);
  });

  it('thread does not block the event loop', async () => {
    const { filter } = guestOf('misbehave', { deadlineMs: 200 });
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    await rejected(FilterError, filter.filterAsync(request(), LOOP, [], { where: 'thread' }));
    clearInterval(timer);
    expect(turns).toBeGreaterThan(20);
  });
});

describe('an off-thread call', () => {
  it('copies the buffers of the caller', async () => {
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

  it('rejects detached and shared buffers', async () => {
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

  it('never reads a body that a getter detaches during encoding', async () => {
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
      // The call fails or returns the body, depending on which is read first.
      const shaped = await dialect
        .shapeAsync(request({ body }), upstream, principal, { where })
        .catch((error) => error);
      if (shaped instanceof Error) expect(shaped).toBeInstanceOf(InvalidArgumentError);
      else expect(shaped.body).toHaveLength(0);
    }
  });

  it('preserves the async context of the caller', async () => {
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
    // More calls than permits, so that the end of one call starts another.
    const calls = Array.from({ length: 12 }, (_, n) =>
      storage.run(n, async () => {
        await filter.filterAsync(request(), caller(), candidates(1), { where: 'thread' });
        return storage.getStore();
      }),
    );
    expect(await Promise.all(calls)).toEqual(Array.from({ length: 12 }, (_, n) => n));
    expect(seen.sort((a, b) => a! - b!)).toEqual(Array.from({ length: 12 }, (_, n) => n));
  });

  it('finishes on the version on which it started, also after a swap or an eviction', async () => {
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

  it('finishes when the runtime is closed, and draining waits for it', async () => {
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

describe('signal', () => {
  const aborting = (delay: number) => {
    const controller = new AbortController();
    const reason = new Error('enough');
    setTimeout(() => controller.abort(reason), delay);
    return { signal: controller.signal, reason };
  };

  it.each(['inline', 'thread', 'auto'] as const)('prevents the call if it is already aborted (%s)', async (where) => {
    const { filter, take } = guestOf('misbehave');
    const reason = new Error('before');
    const call = filter.filterAsync(request(), LOOP, [], { where, signal: AbortSignal.abort(reason) });
    expect(await rejected(Error, call)).toBe(reason);
    expect(take()).toEqual([]);
  });

  it('interrupts a running guest without counting a trap', async () => {
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

  it('removes a waiting call from the queue', async () => {
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

  it('has no effect after the answer', async () => {
    const { filter } = guestOf('cache-aware');
    const controller = new AbortController();
    const options = { where: 'thread', signal: controller.signal } as const;
    expect((await filter.filterAsync(request(), caller(), candidates(1), options)).keptUpstreamIds).toHaveLength(1);
    controller.abort();
  });

  it('may be shared by many calls without a leak warning or a remaining listener', async () => {
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

  it('prevents the call if a getter aborts it during encoding', async () => {
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
