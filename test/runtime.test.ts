import { isDeepStrictEqual } from 'node:util';
import { describe, expect, it } from 'vitest';
import {
  admitWasm,
  admitWasmAsync,
  ClosedError,
  defaultHotEngineConfig,
  InvalidArgumentError,
  ProbeFailedError,
  SlotKey,
  WasmtimeFilterPlugin,
  WasmtimeObservabilityHook,
  WasmtimeRuntime,
  WasmtimeUpstreamDialect,
} from '../src/index.ts';
import { rejected, thrown } from './support/errors.ts';
import { guest } from './support/guest.ts';
import { plugin } from './support/plugins.ts';
import { isolatedRuntime, newRuntime, recorder, STRATEGIES } from './support/runtimes.ts';
import { caller, candidates, request, response, sseEvent, started, upstream } from './support/samples.ts';

const key = SlotKey.global('k');

describe('WasmtimeRuntime', () => {
  it('exposes its complete, frozen config', () => {
    const runtime = newRuntime({ deadlineMs: 7 });
    expect(runtime.config).toEqual({ ...defaultHotEngineConfig(), deadlineMs: 7 });
    expect(Object.isFrozen(runtime.config)).toBe(true);
  });

  it.each<[string, unknown[]]>([
    ['config', [null]],
    ['config', ['pooling']],
    ['config.memoryMaxPages', [{ memoryMaxPages: 0 }]],
    ['config.memoryPages', [{ memoryPages: 5 }]],
    ['options', [undefined, null]],
    ['options', [undefined, 5]],
    ['options.engineGroup', [undefined, { engineGroup: 5 }]],
    ['options.metrics', [undefined, { metrics: 5 }]],
    ['options.metrics.call', [undefined, { metrics: {} }]],
    ['options.metric', [undefined, { metric: {} }]],
    ['options.onMonitored', [undefined, { onMonitored: 5 }]],
  ])('the constructor rejects an invalid %s', (path, args) => {
    expect(thrown(InvalidArgumentError, () => Reflect.construct(WasmtimeRuntime, args)).path).toBe(path);
  });

  it('names what it expects of a listener', () => {
    const error = thrown(InvalidArgumentError, () => Reflect.construct(WasmtimeRuntime, [{}, { onMonitored: 5 }]));
    expect(error.message).toBe('options.onMonitored: expected a function');
  });

  it('lists its slots and counts admissions and calls in flight', async () => {
    const runtime = isolatedRuntime();
    expect(runtime.stats()).toMatchObject({
      slots: 0,
      inFlight: 0,
      queued: 0,
      engine: { running: 0, cacheEntries: 0 },
    });
    const filter = runtime.registerFilter(key, 'f', plugin('report-0-1-0'));
    const shape = runtime.registerShape(SlotKey.global('s'), 's', plugin('report-0-1-0'));
    const observe = runtime.registerObserve(SlotKey.global('o'), 'o', plugin('report-0-1-0'));
    expect(runtime.slots()).toEqual([filter, shape, observe]);
    expect(runtime.slots().map(({ kind }) => kind)).toEqual(['filter', 'shape', 'observe']);
    expect(runtime.stats()).toMatchObject({ slots: 3, engine: { cacheEntries: 1, cacheHits: 2, cacheMisses: 1 } });
    expect(runtime.stats().engine.cacheBytes).toBeGreaterThan(0);
    const call = new WasmtimeFilterPlugin(runtime, filter).filterAsync(request(), caller(), [], { where: 'thread' });
    expect(runtime.stats().inFlight).toBe(1);
    await call;
    expect(runtime.stats().inFlight).toBe(0);
  });

  it('is healthy after construction', () => {
    expect(newRuntime().health()).toEqual({ ok: true, problems: [] });
  });
});

describe.each(STRATEGIES)('publishPoolMetrics, $strategy', ({ strategy, config }) => {
  it('publishes the pool, its settings and the cache', () => {
    const { sink, take } = recorder();
    const runtime = isolatedRuntime(config, { metrics: sink });
    runtime.registerFilter(key, 'n', plugin('cache-aware'));
    take();
    runtime.publishPoolMetrics();
    const gauges = Object.fromEntries(take().map((line) => line.split(' ').slice(1)) as [string, string][]);
    const total = strategy === 'pooling' ? '8' : '0';
    expect(gauges).toMatchObject({
      cc_lb_plugin_pool_memories_used: '0',
      cc_lb_plugin_pool_memories_total: total,
      cc_lb_plugin_pool_memories_utilization_ratio: '0',
      cc_lb_plugin_pool_core_instances_used: '0',
      cc_lb_plugin_pool_core_instances_total: total,
      cc_lb_plugin_pool_core_instances_utilization_ratio: '0',
      cc_lb_plugin_memory_max_pages: '2048',
      cc_lb_plugin_memory_reservation_bytes: String(2 ** 28),
      cc_lb_plugin_memory_guard_bytes: String(2 ** 26),
      cc_lb_plugin_pool_virtual_reservation_bytes: strategy === 'pooling' ? String(8 * (2 ** 28 + 2 ** 26)) : '0',
      cc_lb_compiled_module_cache_hits_total: '0',
      cc_lb_compiled_module_cache_misses_total: '1',
      cc_lb_compiled_module_cache_evictions_total: '0',
      cc_lb_compiled_module_cache_entries: '1',
    });
    expect(Object.keys(gauges)).toHaveLength(21);
    expect(Number(gauges.cc_lb_compiled_module_cache_bytes)).toBeGreaterThan(10_000);
  });

  it('publishes what a running guest uses', async () => {
    const { sink, take } = recorder();
    const runtime = isolatedRuntime({ ...config, deadlineMs: 300 }, { metrics: sink });
    const filter = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key, 'n', plugin('misbehave')));
    const call = filter.filterAsync(request(), caller({ do: 'loop' }), [], { where: 'thread' }).catch(() => {});
    await expect.poll(() => runtime.stats().engine.running, { interval: 1 }).toBe(1);
    await new Promise((resolve) => setTimeout(resolve, 50));
    take();
    runtime.publishPoolMetrics();
    const lines = take();
    const used = strategy === 'pooling' ? 1 : 0;
    expect(lines).toContain(`gauge cc_lb_plugin_pool_memories_used ${used}`);
    expect(lines).toContain(`gauge cc_lb_plugin_pool_core_instances_used ${used}`);
    expect(lines).toContain(`gauge cc_lb_plugin_pool_memories_utilization_ratio ${used / 8}`);
    await call;
  });
});

it('with all other defaults, the pool gauges count running calls and not the slots that earlier calls used', async () => {
  const { sink, take } = recorder();
  const runtime = isolatedRuntime({ allocationStrategy: 'pooling' }, { metrics: sink });
  const filter = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key, 'n', plugin('cache-aware')));
  for (let n = 0; n < 200; n++) filter.filter(request(), caller(), []);
  const threaded = Array.from({ length: 50 }, () => filter.filterAsync(request(), caller(), [], { where: 'thread' }));
  await Promise.all(threaded);
  take();
  runtime.publishPoolMetrics();
  const lines = take();
  expect(lines).toContain('gauge cc_lb_plugin_pool_core_instances_used 0');
  expect(lines).toContain('gauge cc_lb_plugin_pool_memories_used 0');
  expect(runtime.stats().engine).toMatchObject({ running: 0, poolCoreInstances: 0, poolMemories: 0 });
});

describe('a closed runtime', () => {
  it('rejects calls and registrations, and answers queries', async () => {
    const runtime = newRuntime();
    const filterSlot = runtime.registerFilter(key, 'n', plugin('report-0-1-2'));
    const shapeSlot = runtime.registerShape(SlotKey.global('s'), 'n', plugin('report-0-1-2'));
    const observeSlot = runtime.registerObserve(SlotKey.global('o'), 'n', plugin('report-0-1-2'));
    const filter = new WasmtimeFilterPlugin(runtime, filterSlot);
    const dialect = new WasmtimeUpstreamDialect(runtime, shapeSlot);
    const observer = WasmtimeObservabilityHook.follow(runtime, observeSlot.key);
    runtime.close();
    runtime.close();
    const bytes = plugin('cache-aware');
    for (const call of [
      () => runtime.registerFilter(key, 'n', bytes),
      () => runtime.registerShape(key, 'n', bytes),
      () => runtime.registerObserve(key, 'n', bytes),
      () => runtime.callFilter(key, bytes),
      () => runtime.callShape(key, bytes),
      () => runtime.callObserve(key, bytes),
      () => admitWasm(runtime, bytes),
      () => new WasmtimeFilterPlugin(runtime, filterSlot),
      () => WasmtimeUpstreamDialect.follow(runtime, key),
      () => filter.filter(request(), caller(), []),
      () => dialect.shape(request(), upstream, caller()),
      () => dialect.transformResponse(response()),
      () => dialect.transformSseEvent(sseEvent()),
      () => observer.observe(started()),
    ]) {
      expect(thrown(ClosedError, call)).toMatchObject({ code: 'CC_LB_CLOSED', message: 'the runtime is closed' });
    }
    for (const call of [
      runtime.registerFilterAsync(key, 'n', bytes),
      runtime.registerShapeAsync(key, 'n', bytes),
      runtime.registerObserveAsync(key, 'n', bytes),
      admitWasmAsync(runtime, bytes),
      filter.filterAsync(request(), caller(), [], { where: 'thread' }),
      dialect.shapeAsync(request(), upstream, caller()),
      dialect.transformResponseAsync(response()),
      dialect.transformSseEventAsync(sseEvent(), { where: 'thread' }),
      observer.observeAsync(started()),
    ]) {
      await rejected(ClosedError, call);
    }
    expect(runtime.slotCount).toBe(0);
    expect(runtime.slots()).toEqual([]);
    expect(runtime.getSlot(key)).toBeUndefined();
    expect(runtime.evictSlot(key)).toBe(false);
    expect(runtime.retainSlots([])).toEqual([]);
    expect(runtime.health().ok).toBe(true);
    expect(() => runtime.publishPoolMetrics()).not.toThrow();
    expect(runtime.stats().slots).toBe(0);
  });

  it('results from Symbol.dispose and Symbol.asyncDispose', async () => {
    const runtime = newRuntime();
    runtime[Symbol.dispose]();
    expect(() => runtime.registerFilter(key, 'n', plugin('cache-aware'))).toThrow(ClosedError);
    const other = newRuntime();
    const pending = other.registerFilterAsync(key, 'n', plugin('cache-aware'));
    await Promise.all([other[Symbol.asyncDispose](), rejected(ClosedError, pending)]);
    await other[Symbol.asyncDispose]();
  });

  it('does not affect another runtime of the same engine', () => {
    const one = newRuntime();
    const two = newRuntime();
    const slots = [one, two].map((runtime) => runtime.registerFilter(key, 'n', plugin('cache-aware')));
    one.close();
    expect(
      new WasmtimeFilterPlugin(two, slots[1]!).filter(request(), caller(), candidates(1)).keptUpstreamIds,
    ).toHaveLength(1);
  });
});

describe('invalid arguments', () => {
  const bytes = plugin('cache-aware');
  const registrations = ['Filter', 'Shape', 'Observe'] as const;

  it.each<[string, unknown[]]>([
    ['key', [undefined, 'n', bytes]],
    ['key', [null, 'n', bytes]],
    ['key', ['k', 'n', bytes]],
    ['key', [{ principal: 'p' }, 'n', bytes]],
    ['name', [key, undefined, bytes]],
    ['name', [key, 5, bytes]],
    ['bytes', [key, 'n']],
    ['bytes', [key, 'n', 'wasm']],
    ['bytes', [key, 'n', bytes.buffer]],
    ['bytes', [key, 'n', new Uint8Array(new SharedArrayBuffer(64))]],
    ['options', [key, 'n', bytes, null]],
    ['options', [key, 'n', bytes, 'fail-closed']],
    ['options.failurePolicy', [key, 'n', bytes, { failurePolicy: true }]],
    ['options.deadlineMs', [key, 'n', bytes, { deadlineMs: Number.NaN }]],
    ['options.priority', [key, 'n', bytes, { priority: 1 }]],
  ])('of registrations are reported with their path: %s', async (path, args) => {
    const runtime = newRuntime();
    for (const kind of registrations) {
      const sync = runtime[`register${kind}`];
      expect(thrown(InvalidArgumentError, () => Reflect.apply(sync, runtime, args)).path).toBe(path);
      const promise = Reflect.apply(runtime[`register${kind}Async`], runtime, args);
      expect((await rejected(InvalidArgumentError, promise)).path).toBe(path);
    }
    expect(runtime.slotCount).toBe(0);
  });

  it('report a signal that is not an AbortSignal', async () => {
    const runtime = newRuntime();
    for (const signal of [null, {}, 5]) {
      const promise = Reflect.apply(runtime.registerFilterAsync, runtime, [key, 'n', bytes, { signal }]);
      expect((await rejected(InvalidArgumentError, promise)).path).toBe('options.signal');
    }
  });

  it.each([undefined, null, 'k', {}, { principal: 1, plugin: 'k' }])(
    'make getSlot and evictSlot throw: %o',
    (wrong) => {
      const runtime = newRuntime();
      for (const method of [runtime.getSlot, runtime.evictSlot]) {
        expect(thrown(InvalidArgumentError, () => Reflect.apply(method, runtime, [wrong])).path).toBe('key');
      }
    },
  );

  it('are reported with their path by admitWasm', async () => {
    const runtime = newRuntime();
    for (const [path, args] of [
      ['runtime', [undefined, bytes]],
      ['runtime', [{}, bytes]],
      ['bytes', [runtime, 'bytes']],
      ['kind', [runtime, bytes, 'Filter']],
      ['kind', [runtime, bytes, 5]],
    ] as const) {
      expect(thrown(InvalidArgumentError, () => Reflect.apply(admitWasm, undefined, args)).path).toBe(path);
      const promise = Reflect.apply(admitWasmAsync, undefined, args);
      expect((await rejected(InvalidArgumentError, promise)).path).toBe(path);
    }
  });
});

describe('two runtimes of one engine', () => {
  it('share compiled and probed modules, and have separate slots, policies and deadlines', async () => {
    const { sink, take } = recorder();
    const group = { engineGroup: `shared-${process.pid}` };
    const one = newRuntime({ deadlineMs: 1000 }, group);
    const two = newRuntime({ deadlineMs: 2000, pluginFailurePolicy: 'fail-closed' }, { ...group, metrics: sink });
    one.registerFilter(key, 'one', plugin('cache-aware'));
    expect(two.getSlot(key)).toBeUndefined();
    const slot = two.registerFilter(key, 'two', plugin('cache-aware'));
    expect(take()).toEqual([]);
    expect(slot.current).toMatchObject({ versionId: 1, deadlineMs: 2000, failurePolicy: 'fail-closed' });
    expect(two.stats().engine).toMatchObject({ cacheEntries: 1, cacheHits: 1, cacheMisses: 1 });
    // The processes of compilations start and end at any time.
    await expect.poll(() => isDeepStrictEqual(one.stats().engine, two.stats().engine)).toBe(true);
  });

  it('share one budget, which runtimes of another group do not use', async () => {
    const config = { poolTotalCoreInstances: 1, deadlineMs: 400 };
    const group = { engineGroup: `budget-${process.pid}` };
    const runtimes = [newRuntime(config, group), newRuntime(config, group), newRuntime(config)];
    const [busy, same, other] = runtimes.map(
      (runtime) => new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key, 'm', plugin('misbehave'))),
    );
    const running = busy!.filterAsync(request(), caller({ do: 'loop' }), [], { where: 'thread' }).catch(() => {});
    await expect.poll(() => runtimes[1]!.stats().engine.running, { interval: 1 }).toBe(1);
    expect(() => same!.filter(request(), caller(), [])).toThrow(/stores limit reached/);
    expect(() => other!.filter(request(), caller(), [])).not.toThrow();
    await running;
  });
});

describe('a rejected module', () => {
  it('leaves no slot and uses no version id', () => {
    const runtime = newRuntime();
    expect(() => runtime.registerFilter(key, 'n', guest({ hook: 'unreachable' }))).toThrow(ProbeFailedError);
    expect(runtime.slotCount).toBe(0);
    expect(runtime.registerFilter(key, 'n', guest()).current.versionId).toBe(1);
  });
});
