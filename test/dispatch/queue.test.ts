import { describe, expect, it } from 'vitest';
import { enqueue, queueLength } from '../../src/dispatch/queue.ts';
import {
  admitWasm,
  FilterError,
  type HotEngineConfigInput,
  PoolSaturatedError,
  SlotKey,
  WasmtimeFilterPlugin,
  WasmtimeObservabilityHook,
} from '../../src/index.ts';
import { native } from '../../src/native/addon.ts';
import { rejected, thrown } from '../support/errors.ts';
import { guest } from '../support/guest.ts';
import { plugin } from '../support/plugins.ts';
import { isolatedRuntime, recorder } from '../support/runtimes.ts';
import { caller, request, started } from '../support/samples.ts';

/**
 * Permits for off-thread work: the threads of libuv's pool, four by default, except two that are left for other work.
 */
const PERMITS = Math.max(1, Number(process.env.UV_THREADPOOL_SIZE ?? 4) - 2);
const ANY = Number.POSITIVE_INFINITY;

/** Creates work that ends when the test ends it. */
function work() {
  let end: () => void = () => {};
  const state = { begun: false, end: () => end() };
  const run = () => {
    state.begun = true;
    return new Promise<string>((resolve) => {
      end = () => resolve('done');
    });
  };
  return { state, run };
}

describe('the queue', () => {
  it('starts as much work as there are permits, and the rest in order as permits are returned', async () => {
    const works = Array.from({ length: PERMITS + 2 }, work);
    const queued = works.map(({ run }, at) => enqueue(run, ANY, `p${at}`));
    const begun = () => works.map(({ state }) => state.begun);
    expect(begun()).toEqual(works.map((_, at) => at < PERMITS));
    expect(queueLength()).toBe(2);
    works[0]?.state.end();
    expect(await queued[0]?.done).toBe('done');
    await new Promise(setImmediate);
    expect(begun()).toEqual(works.map((_, at) => at < PERMITS + 1));
    for (const { state } of works) state.end();
    await new Promise(setImmediate);
    works.at(-1)?.state.end();
    await Promise.all(queued.map(({ done }) => done));
    expect(queueLength()).toBe(0);
  });

  it('sets no timer while this thread holds every permit, because the end of its work continues the queue', async () => {
    const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
    const before = timers();
    const works = Array.from({ length: PERMITS + 1 }, work);
    const queued = works.map(({ run }, at) => enqueue(run, ANY, `p${at}`));
    expect(queueLength()).toBe(1);
    expect(timers()).toBe(before);
    for (const { state } of works) state.end();
    await queued[0]?.done;
    await new Promise(setImmediate);
    works.at(-1)?.state.end();
    await Promise.all(queued.map(({ done }) => done));
  });

  it('returns the permit of work that cannot start', async () => {
    const fault = new RangeError('no stack');
    const failing = Array.from({ length: PERMITS * 3 }, () =>
      enqueue(
        () => {
          throw fault;
        },
        ANY,
        '',
      ),
    );
    for (const { done } of failing) await expect(done).rejects.toBe(fault);
    const works = Array.from({ length: PERMITS }, work);
    const queued = works.map(({ run }, at) => enqueue(run, ANY, `p${at}`));
    expect(works.every(({ state }) => state.begun)).toBe(true);
    for (const { state } of works) state.end();
    await Promise.all(queued.map(({ done }) => done));
  });

  it('removes waiting work, and does not remove running work', async () => {
    const works = Array.from({ length: PERMITS + 2 }, work);
    const queued = works.map(({ run }, at) => enqueue(run, ANY, `p${at}`));
    expect(queued[0]?.remove()).toBe(false);
    expect(queued[PERMITS]?.remove()).toBe(true);
    expect(queued[PERMITS]?.remove()).toBe(false);
    expect(queueLength()).toBe(1);
    for (const { state } of works) state.end();
    await Promise.all(queued.slice(0, PERMITS).map(({ done }) => done));
    await new Promise(setImmediate);
    expect(works[PERMITS]?.state.begun).toBe(false);
    works.at(-1)?.state.end();
    expect(await queued.at(-1)?.done).toBe('done');
  });

  it('limits the waiting work of callers that pass a limit', async () => {
    const works = Array.from({ length: PERMITS + 1 }, work);
    const queued = works.map(({ run }, at) => enqueue(run, 1, `p${at}`));
    const error = await rejected(PoolSaturatedError, enqueue(work().run, 1, 'other').done);
    expect(error).toMatchObject({ resource: 'queue', retryable: true });
    const patient = work();
    queued.push(enqueue(patient.run, ANY, 'patient'));
    for (const { state } of [...works, ...works, patient]) state.end();
    await new Promise(setImmediate);
    for (const { state } of [...works, patient]) state.end();
    await Promise.all(queued.map(({ done }) => done));
  });

  it('returns the permit of failed work', async () => {
    for (let round = 0; round < PERMITS * 2; round++) {
      await rejected(Error, enqueue(() => Promise.reject(new Error('failed')), 0, '').done);
    }
    expect(queueLength()).toBe(0);
  });

  it('keeps the order of work that could not start for lack of stack', async () => {
    const ran: number[] = [];
    const failed: number[] = [];
    const enqueueNumbered = (number: number) => {
      const { done } = enqueue(async () => void ran.push(number), ANY, 'a');
      return done.catch(() => void failed.push(number));
    };
    for (let permit = 0; permit < PERMITS; permit++) native.takeTaskPermit(PERMITS, `p${permit}`);
    const numbers = Array.from({ length: 20 }, (_, number) => number);
    const settled = numbers.map(enqueueNumbered);
    for (let permit = 0; permit < PERMITS; permit++) native.returnTaskPermit(`p${permit}`);
    // Each frame that returns frees more stack: at some depth, work can be removed from the queue but not started.
    const enqueueAtEveryDepth = (): void => {
      try {
        enqueueAtEveryDepth();
      } catch {}
      try {
        if (queueLength() >= numbers.length) enqueue(async () => {}, ANY, 'a').remove();
      } catch {}
    };
    enqueueAtEveryDepth();
    await Promise.all(settled);
    const ascending = (list: number[]) => list.toSorted((a, b) => a - b);
    expect(ran).toEqual(ascending(ran));
    expect(failed).toEqual(ascending(failed));
    expect(ascending([...ran, ...failed])).toEqual(numbers);
    expect(queueLength()).toBe(0);
  });

  const begins = (order: string[], name: string) => async () => {
    order.push(name);
    await new Promise(setImmediate);
  };

  it('serves principals in rotation, and the work of each in order', async () => {
    const order: string[] = [];
    const add = (name: string) => enqueue(begins(order, name), ANY, name[0]!).done;
    const done = ['a1', 'a2', 'a3', 'a4', 'b1', 'c1', 'b2'].map(add);
    await Promise.all(done);
    const of = (principal: string) => order.filter((name) => name.startsWith(principal));
    expect([of('a'), of('b'), of('c')]).toEqual([['a1', 'a2', 'a3', 'a4'], ['b1', 'b2'], ['c1']]);
    expect(order.indexOf('c1')).toBeLessThan(order.indexOf('a3'));
    expect(order.indexOf('b2')).toBeLessThan(order.indexOf('a4'));
  });

  it.runIf(PERMITS >= 2)('never gives one principal the last of several permits', async () => {
    const hostile = Array.from({ length: PERMITS + 3 }, work);
    const queued = hostile.map(({ run }) => enqueue(run, ANY, 'hostile'));
    expect(hostile.filter(({ state }) => state.begun)).toHaveLength(PERMITS - 1);
    expect(await enqueue(async () => 'served', ANY, 'other').done).toBe('served');
    for (const { remove } of queued) remove();
    for (const { state } of hostile) state.end();
    await Promise.all(queued.slice(0, PERMITS - 1).map(({ done }) => done));
  });

  it('rejects the newest work of the longest line if another principal enqueues work in a full queue', async () => {
    const hostile = Array.from({ length: PERMITS + 8 }, work);
    const queued = hostile.map(({ run }) => enqueue(run, ANY, 'hostile'));
    const bounded = [4, 5, 6].map(() => enqueue(work().run, ANY, 'hostile'));
    expect((await rejected(PoolSaturatedError, enqueue(work().run, 4, 'hostile').done)).resource).toBe('queue');
    const sheddable = enqueue(work().run, 1_000, 'hostile');
    const blocking = work();
    const block = enqueue(blocking.run, ANY, 'block');
    const other = enqueue(work().run, 4, 'other');
    expect((await rejected(PoolSaturatedError, sheddable.done)).resource).toBe('queue');
    // The rest of the longest line is not bounded, so it cannot be displaced.
    await rejected(PoolSaturatedError, enqueue(work().run, 4, 'third').done);
    for (const { remove } of [...queued, ...bounded, block, other]) remove();
    for (const { state } of [...hostile, blocking]) state.end();
    await Promise.allSettled(queued.slice(0, Math.max(1, PERMITS - 1)).map(({ done }) => done));
    if (PERMITS >= 2) await block.done;
  });

  it('retries until another thread returns its permits', async () => {
    for (let permit = 0; permit < PERMITS; permit++)
      expect(native.takeTaskPermit(PERMITS, `p${permit}`)).toBe('granted');
    expect(native.takeTaskPermit(PERMITS, 'other')).toBe('wait');
    const { state, run } = work();
    const { done } = enqueue(run, ANY, 'a');
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(state.begun).toBe(false);
    for (let permit = 0; permit < PERMITS; permit++) native.returnTaskPermit(`p${permit}`);
    await expect.poll(() => state.begun).toBe(true);
    state.end();
    expect(await done).toBe('done');
  });
});

const key = SlotKey.global('k');
const LOOP = caller({ do: 'loop' });
const OFF = { where: 'thread' } as const;

function misbehave(config: HotEngineConfigInput) {
  const { sink, take } = recorder();
  const runtime = isolatedRuntime({ deadlineMs: 60_000, ...config }, { metrics: sink });
  const slot = runtime.registerFilter(key, 'm', plugin('misbehave'));
  const filter = new WasmtimeFilterPlugin(runtime, slot);
  take();
  /** Starts a guest that runs until `end` is called, and waits until it runs. */
  const busy = async () => {
    const { signal, end } = ending();
    const call = filter.filterAsync(request(), LOOP, [], { ...OFF, signal });
    await expect.poll(() => runtime.stats().engine.running, { interval: 1 }).toBe(1);
    return { end: () => end(call) };
  };
  return { runtime, slot, filter, take, busy };
}

/** A signal for endless calls, and a way to end them by it. */
function ending() {
  const controller = new AbortController();
  const end = async (...calls: Promise<unknown>[]) => {
    controller.abort(new Error('enough'));
    await Promise.all(calls.map((call) => expect(call).rejects.toThrow('enough')));
  };
  return { signal: controller.signal, end };
}

function expectSaturated(error: FilterError, resource: string): void {
  expect(error).toMatchObject({ code: 'CC_LB_FILTER', kind: 'runtime', retryable: true, plugin: 'm', versionId: 1 });
  expect(error.cause).toBeInstanceOf(PoolSaturatedError);
  expect(error.cause).toMatchObject({ resource, retryable: true });
  expect(error.message).toContain(`${resource} limit reached`);
}

describe('saturation', () => {
  it.each(['on-demand', 'pooling'] as const)('reports stores when the maximum of guests run (%s)', async (strategy) => {
    const { filter, take, busy } = misbehave({ allocationStrategy: strategy, poolTotalCoreInstances: 1 });
    const { end } = await busy();
    expectSaturated(
      thrown(FilterError, () => filter.filter(request(), caller(), [])),
      'stores',
    );
    const other = { ...caller(), id: 'other' };
    expectSaturated(await rejected(FilterError, filter.filterAsync(request(), other, [], OFF)), 'stores');
    expect(take()).toEqual(['saturation stores', 'saturation stores']);
    await end();
    expect(() => filter.filter(request(), caller(), [])).not.toThrow();
  });

  it('does not prevent admission when stores are exhausted', async () => {
    const { runtime, busy } = misbehave({ poolTotalCoreInstances: 1 });
    const { end } = await busy();
    expect(() => admitWasm(runtime, guest())).not.toThrow();
    expect(runtime.stats().engine.running).toBe(1);
    await end();
  });

  it('is not reported for queued calls when stores are exhausted', async () => {
    const { filter } = misbehave({ poolTotalCoreInstances: PERMITS });
    const calls = Array.from({ length: 20 }, () => filter.filterAsync(request(), caller(), [], OFF));
    expect(await Promise.all(calls)).toHaveLength(20);
  });

  it('reports pool when the pool has no memory left', async () => {
    const config: HotEngineConfigInput = {
      allocationStrategy: 'pooling',
      poolTotalMemories: 1,
      poolTotalCoreInstances: 4,
    };
    const { runtime, filter, take, busy } = misbehave(config);
    const { end } = await busy();
    expectSaturated(
      thrown(FilterError, () => filter.filter(request(), caller(), [])),
      'pool',
    );
    expect(take()).toEqual(['saturation pool']);
    // A probe without a memory fails with a retryable error.
    expect(() => admitWasm(runtime, guest())).toThrow(/probe of hook filter failed: .*pool limit reached/);
    await end();
    expect(() => filter.filter(request(), caller(), [])).not.toThrow();
    expect(() => admitWasm(runtime, guest())).not.toThrow();
  });

  it('reports queue when the maximum of calls wait', async () => {
    const { runtime, filter, take } = misbehave({ maxQueuedCalls: 1 });
    const { signal, end } = ending();
    const running = Array.from({ length: PERMITS + 1 }, (_, at) =>
      filter.filterAsync(request(), { ...LOOP, id: `p${at}` }, [], { ...OFF, signal }),
    );
    expect(runtime.stats().queued).toBe(1);
    const { stagedBytes } = runtime.stats().engine;
    expectSaturated(await rejected(FilterError, filter.filterAsync(request(), caller(), [], OFF)), 'queue');
    expect(take()).toEqual(['saturation queue']);
    expect(runtime.stats().engine.stagedBytes).toBe(stagedBytes);
    await end(...running);
    expect(() => filter.filter(request(), caller(), [])).not.toThrow();
  });

  it('reports staging when waiting requests have the maximum of bytes', async () => {
    const { runtime, filter, take } = misbehave({ maxStagingBytes: 3000 });
    const call = (bytes: number) => filter.filterAsync(request({ body: Buffer.alloc(bytes) }), caller(), [], OFF);
    await call(2000);
    take();
    const { signal, end } = ending();
    const first = filter.filterAsync(request({ body: Buffer.alloc(2000) }), LOOP, [], { ...OFF, signal });
    expectSaturated(await rejected(FilterError, call(2000)), 'staging');
    expect(take()).toEqual(['saturation staging']);
    await end(first);
    expect(runtime.stats().engine.stagedBytes).toBe(0);
    await call(2000);
  });

  it('leaves space to other principals', async () => {
    const { filter } = misbehave({ maxStagingBytes: 6000 });
    const { signal, end } = ending();
    const call = (id: string) =>
      filter.filterAsync(request({ body: Buffer.alloc(1500) }), { ...LOOP, id }, [], { ...OFF, signal });
    const running = [call('one'), call('one')];
    expectSaturated(await rejected(FilterError, call('one')), 'staging');
    running.push(call('two'));
    await end(...running);
  });

  it('is not retryable for a request that exceeds maxStagingBytes', async () => {
    const { filter, take, slot } = misbehave({ maxStagingBytes: 3000 });
    const call = filter.filterAsync(request({ body: Buffer.alloc(3000) }), caller(), [], OFF);
    const error = await rejected(FilterError, call);
    expect(error).toMatchObject({ retryable: false, plugin: 'm' });
    expect(error.cause).toBeInstanceOf(PoolSaturatedError);
    expect(error.cause).toMatchObject({ resource: 'staging', retryable: false, plugin: 'm', versionId: 1 });
    expect(error.message).toMatch(/the request takes \d+ bytes, more than maxStagingBytes \(3000\)/);
    expect(take()).toEqual(['saturation staging']);
    expect(slot.status).toMatchObject({ calls: 1, failures: { saturated: 1 } });
  });

  it.each([
    ['has no space', 2000, true],
    ['can never fit', 3000, false],
  ])('is reported for a call that exceeds its slice and whose repetition %s', async (_, bytes, retryable) => {
    const { filter, take, slot } = misbehave({ maxStagingBytes: 3000, inlineSliceMs: 1 });
    const { signal, end } = ending();
    const first = filter.filterAsync(request({ body: Buffer.alloc(2000) }), LOOP, [], { ...OFF, signal });
    const call = filter.filterAsync(request({ body: Buffer.alloc(bytes) }), LOOP, []);
    expect((await rejected(FilterError, call)).cause).toMatchObject({ resource: 'staging', retryable });
    expect(take()).toEqual(['saturation staging', 'call m filter']);
    expect(slot.status).toMatchObject({ calls: 1, failures: { saturated: 1 } });
    await end(first);
  });

  it('is reported for observers', async () => {
    const { runtime, busy } = misbehave({ poolTotalCoreInstances: 1 });
    const slot = runtime.registerObserve(SlotKey.global('o'), 'o', plugin('lifecycle'));
    const { end } = await busy();
    const error = new WasmtimeObservabilityHook(runtime, slot).observe(started());
    expect(error).toMatchObject({ retryable: true, cause: { resource: 'stores' } });
    await end();
  });
});
