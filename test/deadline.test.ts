import { describe, expect, it } from 'vitest';
import {
  admitWasm,
  DialectError,
  FilterError,
  GuestTrapError,
  type HotEngineConfigInput,
  InstantiateFailedError,
  ObservabilityError,
  SlotKey,
  WasmtimeFilterPlugin,
  WasmtimeObservabilityHook,
  type WasmtimeRuntime,
  WasmtimeUpstreamDialect,
} from '../src/index.ts';
import { rejected, thrown } from './support/errors.ts';
import { guest, LONGER_THAN_PROBES, misbehavesAfterProbe } from './support/guest.ts';
import { plugin } from './support/plugins.ts';
import { newRuntime, STRATEGIES } from './support/runtimes.ts';
import { caller, request, started, upstream } from './support/samples.ts';

const key = SlotKey.global('k');
const LOOP = caller({ do: 'loop' });
const LARGE = request({ body: Buffer.alloc(LONGER_THAN_PROBES) });
/** Milliseconds by which a call may exceed its deadline on a busy machine. */
const LATE = 2_000;

function misbehave(config?: HotEngineConfigInput, deadlineMs?: number) {
  const runtime = newRuntime(config);
  const slot = runtime.registerFilter(key, 'm', plugin('misbehave'), { deadlineMs });
  return { runtime, filter: new WasmtimeFilterPlugin(runtime, slot) };
}

/** Returns the milliseconds that `call` took to expire. */
async function expiry(call: () => unknown): Promise<number> {
  const began = performance.now();
  let error: unknown;
  try {
    error = await call();
  } catch (caught) {
    error = caught;
  }
  const { cause } = error as Error;
  expect(cause).toBeInstanceOf(GuestTrapError);
  expect(cause).toMatchObject({ trap: 'interrupt', retryable: true });
  expect(error).toMatchObject({ retryable: true });
  return performance.now() - began;
}

function expectAbout(elapsed: number, deadlineMs: number): void {
  expect(elapsed).toBeGreaterThanOrEqual(deadlineMs - 1);
  expect(elapsed).toBeLessThan(deadlineMs + LATE);
}

describe.each(STRATEGIES)('a deadline, $strategy', ({ config }) => {
  it('interrupts a looping hook of every kind, inline and off-thread', async () => {
    const runtime = newRuntime({ ...config, deadlineMs: 40 });
    const bytes = plugin('misbehave');
    const filter = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key, 'm', bytes));
    const shape = new WasmtimeUpstreamDialect(runtime, runtime.registerShape(SlotKey.global('s'), 'm', bytes));
    const observe = new WasmtimeObservabilityHook(runtime, runtime.registerObserve(SlotKey.global('o'), 'm', bytes));
    const thread = { where: 'thread' } as const;
    for (const call of [
      () => filter.filter(request(), LOOP, []),
      () => filter.filterAsync(request(), LOOP, [], thread),
      () => shape.shape(request(), upstream, LOOP),
      () => shape.shapeAsync(request(), upstream, LOOP, thread),
      () => observe.observe(started('do:loop')),
      () => observe.observeAsync(started('do:loop'), thread),
    ]) {
      expectAbout(await expiry(call), 40);
    }
    expect(thrown(FilterError, () => filter.filter(request(), LOOP, []))).toMatchObject({ kind: 'trap' });
    expect(thrown(DialectError, () => shape.shape(request(), upstream, LOOP)).retryable).toBe(true);
    expect(observe.observe(started('do:loop'))).toBeInstanceOf(ObservabilityError);
  });

  it('interrupts a looping alloc, start function and probe', async () => {
    const runtime = newRuntime({ ...config, deadlineMs: 40 });
    const loop = '(loop $l br $l)';
    const alloc = `(if (i32.ge_u (local.get 0) (i32.const ${LONGER_THAN_PROBES})) (then ${loop})) i32.const 32768`;
    const filter = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key, 'n', guest({ alloc })));
    const error = thrown(FilterError, () => filter.filter(LARGE, caller(), []));
    expect(error.cause).toMatchObject({ phase: 'cc_lb_alloc', trap: 'interrupt' });
    expectAbout(await expiry(() => admitWasm(runtime, guest({ fields: `(start $s) (func $s ${loop})` }))), 40);
    expectAbout(await expiry(() => admitWasm(runtime, guest({ hook: `${loop} $answer` }))), 40);
  });

  it('covers the start function, whose expiry fails the instantiation', () => {
    // The start function takes longer than 5 ms and much less than the deadline of the probe.
    const fields =
      '(start $s) (func $s (local $i i32) (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 300000000)))))';
    const runtime = newRuntime({ ...config, deadlineMs: 20_000 });
    const filter = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key, 'n', guest({ fields })));
    const error = thrown(FilterError, () => filter.filter(request(), caller(), [], { deadlineMs: 5 }));
    expect(error.cause).toBeInstanceOf(InstantiateFailedError);
    expect((error.cause as Error).cause).toMatchObject({ phase: 'instantiate', trap: 'interrupt' });
    expect(error.kind).toBe('runtime');
    expect(() => filter.filter(request(), caller(), [])).not.toThrow();
  });

  it('covers alloc and hook together', async () => {
    const spin = (n: number) =>
      `(local.set $i (i32.const ${n})) (loop $l (br_if $l (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))`;
    const alloc = `(local $i i32) (if (i32.ge_u (local.get 0) (i32.const ${LONGER_THAN_PROBES})) (then ${spin(400_000_000)})) i32.const 32768`;
    const bytes = guest({ alloc, hook: misbehavesAfterProbe('(loop $l br $l) i64.const 0') });
    const runtime = newRuntime({ ...config, deadlineMs: 300 });
    const filter = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key, 'n', bytes));
    expectAbout(await expiry(() => filter.filter(LARGE, caller(), [])), 300);
  });
});

describe('the effective deadline', () => {
  const elapsed = (filter: WasmtimeFilterPlugin, deadlineMs?: number) =>
    expiry(() => filter.filter(request(), LOOP, [], { deadlineMs }));
  const elapsedThread = (filter: WasmtimeFilterPlugin, deadlineMs?: number) =>
    expiry(() => filter.filterAsync(request(), LOOP, [], { deadlineMs, where: 'thread' }));

  it.each([
    ['inline', elapsed],
    ['thread', elapsedThread],
  ])('is the call’s, else the slot’s, else the runtime’s, up or down (%s)', async (_, run) => {
    expectAbout(await run(misbehave({ deadlineMs: 50 }).filter), 50);
    // A shorter deadline: with the longer one, the call would take at least that long.
    expect(await run(misbehave({ deadlineMs: 60_000 }, 50).filter)).toBeLessThan(30_000);
    expect(await run(misbehave({ deadlineMs: 60_000 }, 50_000).filter, 50)).toBeLessThan(30_000);
    // A longer deadline.
    expectAbout(await run(misbehave({ deadlineMs: 20 }, 150).filter), 150);
    expectAbout(await run(misbehave({ deadlineMs: 20 }, 30).filter, 150), 150);
  });

  it('is that of the version that the adapter is pinned to', async () => {
    const { runtime, filter } = misbehave({ deadlineMs: 60_000 }, 50);
    runtime.registerFilter(key, 'm', plugin('misbehave'), { deadlineMs: 200 });
    expect(await elapsed(filter)).toBeLessThan(30_000);
    expectAbout(await elapsed(WasmtimeFilterPlugin.follow(runtime, key)), 200);
  });

  it('may be the maximum', () => {
    const { filter } = misbehave({ deadlineMs: 2 ** 31 - 1 });
    expect(() => filter.filter(request(), caller({ do: 'spin:100' }), [], { deadlineMs: 2 ** 31 - 1 })).not.toThrow();
  });
});

describe('a deadline of concurrent calls', () => {
  it('starts when the call leaves the queue', async () => {
    const { filter } = misbehave({ deadlineMs: 150 });
    const loops = Array.from({ length: 6 }, () =>
      rejected(FilterError, filter.filterAsync(request(), LOOP, [], { where: 'thread' })),
    );
    // This call waits in the queue for several deadlines, and then has its full deadline.
    const spin = filter.filterAsync(request(), caller({ do: 'spin:1000' }), [], { where: 'thread' });
    expect((await Promise.all(loops)).map(({ cause }) => (cause as GuestTrapError).trap)).toEqual(
      Array(6).fill('interrupt'),
    );
    await expect(spin).resolves.toBeDefined();
  });

  it('does not affect later or concurrent calls', async () => {
    const { filter, runtime } = misbehave({ deadlineMs: 10_000 });
    const long = filter.filterAsync(request(), caller({ do: 'spin:200000' }), [], { where: 'thread' });
    for (let round = 0; round < 5; round++) {
      await rejected(FilterError, filter.filterAsync(request(), LOOP, [], { deadlineMs: 5 }));
      expect(() => filter.filter(request(), caller({ do: 'spin:1000' }), [])).not.toThrow();
    }
    await expect(long).resolves.toBeDefined();
    expect(runtime.stats().engine.running).toBe(0);
  });

  it('does not interrupt guests of other engines', async () => {
    const { filter } = misbehave({ deadlineMs: 5 });
    const other: { runtime: WasmtimeRuntime; filter: WasmtimeFilterPlugin } = misbehave({
      deadlineMs: 20_000,
      memoryMaxPages: 99,
    });
    const long = other.filter.filterAsync(request(), caller({ do: 'spin:100000' }), [], { where: 'thread' });
    for (let round = 0; round < 5; round++) expect(() => filter.filter(request(), LOOP, [])).toThrow(FilterError);
    await expect(long).resolves.toBeDefined();
  });
});
