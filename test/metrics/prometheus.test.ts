import { createRequire } from 'node:module';
import { runInThisContext } from 'node:vm';
import { buildSync } from 'esbuild';
import promClient, { AggregatorRegistry, Counter, Histogram, Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import { FilterError, SlotKey, WasmtimeFilterPlugin, type WasmtimeRuntime } from '../../src/index.ts';
import { prometheusSink } from '../../src/metrics/prometheus.ts';
import { type MetricsSink, type PoolStats, publishPoolMetrics } from '../../src/metrics/sink.ts';
import { plugin } from '../support/plugins.ts';
import { isolatedRuntime, newRuntime } from '../support/runtimes.ts';
import { caller, candidates, request } from '../support/samples.ts';

const stats: PoolStats = {
  engine: 'e',
  allocationStrategy: 'pooling',
  poolTotalMemories: 64,
  poolTotalCoreInstances: 64,
  memoriesUsed: 16,
  coreInstancesUsed: 32,
  memoryMaxPages: 2048,
  memoryReservationBytes: 256,
  memoryGuardBytes: 64,
  virtualMemoryReservationBytes: 20480,
  compiledCache: { hits: 1, misses: 2, evictions: 3, entries: 4, bytes: 5 },
  compileCache: null,
};

/** Returns the sample lines of the registry, without help and type. */
async function samples(registry: Registry): Promise<string[]> {
  return (await registry.metrics()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
}

/** The limits of the buckets of a histogram, which a call makes visible and a reset hides again. */
async function boundsOf(registry: Registry, sink: MetricsSink, name: string): Promise<number[]> {
  sink.call('x', 'filter', 1);
  const text = await registry.getSingleMetricAsString(name);
  registry.resetMetrics();
  return [...text.matchAll(/le="([\d.e-]+)"/g)].map(([, limit]) => Number(limit));
}

interface Shared {
  readonly runtime: WasmtimeRuntime;
  readonly filter: WasmtimeFilterPlugin;
}

describe('prometheusSink', () => {
  it('counts calls, traps and saturation by their labels', async () => {
    const registry = new Registry();
    const sink = prometheusSink(registry);
    sink.call('cache', 'filter', 0.000_02);
    sink.call('cache', 'filter', 7);
    sink.trap('cache', 'shape', 'cc_lb_shape');
    sink.trap('cache', 'shape', 'cc_lb_shape');
    sink.saturation('stores');
    const lines = await samples(registry);
    expect(lines).toContain('cc_lb_plugin_call_duration_seconds_bucket{le="0.00001",plugin="cache",hook="filter"} 0');
    expect(lines).toContain('cc_lb_plugin_call_duration_seconds_bucket{le="0.000025",plugin="cache",hook="filter"} 1');
    expect(lines).toContain('cc_lb_plugin_call_duration_seconds_bucket{le="5",plugin="cache",hook="filter"} 1');
    expect(lines).toContain('cc_lb_plugin_call_duration_seconds_count{plugin="cache",hook="filter"} 2');
    expect(lines).toContain('cc_lb_plugin_trap_total{plugin="cache",hook="shape",phase="cc_lb_shape"} 2');
    expect(lines).toContain('cc_lb_plugin_pool_saturation_total{resource="stores"} 1');
  });

  it('exports durations as a histogram of prom-client does', async () => {
    const [ours, theirs] = [new Registry(), new Registry()];
    const sink = prometheusSink(ours);
    const name = 'cc_lb_plugin_call_duration_seconds';
    const limits = [...(await boundsOf(ours, sink, name))];
    const histogram = new Histogram({
      ...{ name, help: 'Time spent in a plugin hook, in seconds', labelNames: ['plugin', 'hook'] },
      ...{ buckets: limits, registers: [theirs] },
    });
    for (const [plugin, hook, seconds] of [
      ...([
        ['a', 'filter', 0],
        ['a', 'filter', 0.000_01],
        ['a', 'shape', 0.000_011],
      ] as const),
      ...([
        ['b', 'observe', 5],
        ['b', 'observe', 5.001],
        ['b', 'observe', 1e9],
      ] as const),
    ]) {
      sink.call(plugin, hook, seconds);
      histogram.observe({ plugin, hook }, seconds);
    }
    expect(await ours.getSingleMetricAsString(name)).toBe(await theirs.getSingleMetricAsString(name));
    const processes = await Promise.all([ours, theirs].map((registry) => registry.getMetricsAsJSON()));
    const whole = await AggregatorRegistry.aggregate(processes).getSingleMetricAsString(name);
    expect(whole).toContain(`${name}_count{plugin="b",hook="observe"} 6`);
    ours.resetMetrics();
    expect(await ours.getSingleMetricAsString(name)).not.toContain('_count');
  });

  it('sets the series of the pool with type and help', async () => {
    const registry = new Registry();
    const sink = prometheusSink(registry);
    publishPoolMetrics(sink, stats);
    publishPoolMetrics(sink, { ...stats, memoriesUsed: 8, compiledCache: { ...stats.compiledCache, hits: 9 } });
    const text = await registry.metrics();
    const lines = await samples(registry);
    expect(lines).toContain('cc_lb_plugin_pool_memories_used 8');
    expect(lines).toContain('cc_lb_plugin_pool_memories_utilization_ratio 0.125');
    expect(lines).toContain('cc_lb_compiled_module_cache_hits_total 9');
    expect(text).toContain('# TYPE cc_lb_compiled_module_cache_hits_total counter');
    expect(text).toContain('# TYPE cc_lb_plugin_pool_memories_used gauge');
    for (const [, name, help] of text.matchAll(/^# HELP (\S+) (.*)$/gm)) expect(help, name).not.toBe(name);
  });

  it('registers its series before the first report', async () => {
    const registry = new Registry();
    prometheusSink(registry);
    const names = registry.getMetricsAsArray().map(({ name }) => name);
    expect(names.filter((name) => !name.startsWith('cc_lb_plugin_slot_'))).toEqual([
      'cc_lb_plugin_call_duration_seconds',
      'cc_lb_plugin_trap_total',
      'cc_lb_plugin_pool_saturation_total',
      'cc_lb_plugin_registration_refusals_total',
    ]);
    expect(names).toContain('cc_lb_plugin_slot_info');
  });

  it('shares its series with other sinks of the registry', async () => {
    const registry = new Registry();
    const [first, second] = [prometheusSink(registry), prometheusSink(registry)];
    for (const sink of [first, second]) {
      sink.saturation('pool');
      sink.counter('cc_lb_compiled_module_cache_hits_total', 5);
    }
    const lines = await samples(registry);
    expect(lines).toContain('cc_lb_plugin_pool_saturation_total{resource="pool"} 2');
    expect(lines).toContain('cc_lb_compiled_module_cache_hits_total 5');
  });

  it('adds up the counters of several engines, and counts an engine of several runtimes once', async () => {
    const registry = new Registry();
    const sink = () => ({ metrics: prometheusSink(registry) });
    const one = isolatedRuntime({}, sink());
    const groups = ['prometheus', 'prometheus', 'other'].map((engineGroup) =>
      newRuntime({}, { engineGroup, ...sink() }),
    );
    for (const runtime of [one, ...groups]) runtime.registerFilter(SlotKey.global('k'), 'k', plugin('cache-aware'));
    const misses = async () => {
      for (const runtime of [one, ...groups, one]) runtime.publishPoolMetrics();
      const lines = await samples(registry);
      return lines.find((line) => line.startsWith('cc_lb_compiled_module_cache_misses_total'));
    };
    expect(await misses()).toBe('cc_lb_compiled_module_cache_misses_total 3');
    expect(await misses()).toBe('cc_lb_compiled_module_cache_misses_total 3');
    one.registerFilter(SlotKey.global('k'), 'k', plugin('cache-aware-v2'));
    expect(await misses()).toBe('cc_lb_compiled_module_cache_misses_total 4');
  });

  it('continues to count when an engine restarts from 0', async () => {
    const registry = new Registry();
    const sink = prometheusSink(registry);
    for (const total of [5, 2, 3]) sink.counter('cc_lb_compiled_module_cache_hits_total', total, 'engine');
    expect(await samples(registry)).toContain('cc_lb_compiled_module_cache_hits_total 8');
  });

  it('sums the counters of slots with one key, and keeps them and their calls while a runtime has one', async () => {
    const registry = new Registry();
    const key = SlotKey.global('shared');
    const [old, next] = [0, 1].map(() => {
      const runtime = newRuntime({ breaker: { enabled: true } }, { metrics: prometheusSink(registry) });
      runtime.registerFilter(key, 'p', plugin('misbehave'));
      return { runtime, filter: WasmtimeFilterPlugin.follow(runtime, key) };
    }) as [Shared, Shared];
    const fail = ({ filter }: Shared) =>
      expect(() => filter.filter(request(), caller({ do: 'unreachable' }), [])).toThrow(FilterError);
    const labels = 'principal="__global__",plugin="shared"';
    const published = async (...all: Shared[]) => {
      for (const { runtime } of all) runtime.publishPoolMetrics();
      return samples(registry);
    };

    for (let at = 0; at < 5; at++) old.filter.filter(request(), caller(), candidates(1));
    for (let at = 0; at < 3; at++) fail(next);
    for (const all of [
      [old, next],
      [next, old, old],
    ]) {
      const lines = await published(...all);
      expect(lines).toContain(`cc_lb_plugin_slot_calls_total{${labels}} 8`);
      expect(lines).toContain(`cc_lb_plugin_slot_failures_total{${labels},failure="trap"} 3`);
      expect(lines).toContain(`cc_lb_plugin_slot_breaker_open_principals{${labels}} 1`);
    }

    old.runtime.close();
    const lines = await published(next);
    expect(lines).toContain(`cc_lb_plugin_slot_calls_total{${labels}} 8`);
    expect(lines.filter((line) => line.startsWith('cc_lb_plugin_slot_info'))).toHaveLength(1);
    expect(lines).toContain('cc_lb_plugin_call_duration_seconds_count{plugin="p",hook="filter"} 8');
    expect(lines).toContain('cc_lb_plugin_trap_total{plugin="p",hook="filter",phase="cc_lb_filter"} 3');

    next.runtime.close();
    const left = await samples(registry);
    expect(left.filter((line) => line.includes('plugin="p"') || line.includes('plugin="shared"'))).toEqual([]);
  });

  it('exports only the current version of a slot, and continues its counters after a swap', async () => {
    const registry = new Registry();
    const key = SlotKey.global('swapped');
    const runtimes = [0, 1].map(() => newRuntime({}, { metrics: prometheusSink(registry) }));
    for (const runtime of runtimes) runtime.registerFilter(key, 'a', plugin('cache-aware'));
    const [swapped] = runtimes as [WasmtimeRuntime];
    const filter = WasmtimeFilterPlugin.follow(swapped, key);
    for (const name of ['b', 'c', 'd']) {
      filter.filter(request(), caller(), candidates(1));
      for (const runtime of runtimes) runtime.publishPoolMetrics();
      swapped.registerFilter(key, name, plugin(name === 'c' ? 'cache-aware' : 'cache-aware-v2'));
    }
    for (const runtime of runtimes) runtime.publishPoolMetrics();
    const lines = await samples(registry);
    expect(lines).toContain('cc_lb_plugin_slot_calls_total{principal="__global__",plugin="swapped"} 3');
    const infos = lines.filter((line) => line.startsWith('cc_lb_plugin_slot_info'));
    expect(infos.map((line) => /name="(.)"/.exec(line)?.[1]).sort()).toEqual(['a', 'd']);
  });

  it('registers its series again after the registry is cleared', async () => {
    const registry = new Registry();
    const sink = prometheusSink(registry);
    registry.clear();
    sink.saturation('pool');
    expect(await samples(registry)).toContain('cc_lb_plugin_pool_saturation_total{resource="pool"} 1');
  });

  it('adds counts of several processes up, and leaves limits and shares as they are', async () => {
    const processes = await Promise.all(
      [0.5, 1].map(async (share) => {
        const registry = new Registry();
        const sink = prometheusSink(registry);
        sink.gauge('cc_lb_plugin_memory_max_pages', 2_048);
        sink.gauge('cc_lb_plugin_pool_memories_used', 3);
        sink.gauge('cc_lb_plugin_pool_memories_utilization_ratio', share);
        sink.saturation('pool');
        return registry.getMetricsAsJSON();
      }),
    );
    const whole = AggregatorRegistry.aggregate(processes);
    const text = await whole.metrics();
    expect(text).toContain('cc_lb_plugin_memory_max_pages 2048');
    expect(text).toContain('cc_lb_plugin_pool_memories_used 6');
    expect(text).toContain('cc_lb_plugin_pool_memories_utilization_ratio 0.75');
    expect(text).toContain('cc_lb_plugin_pool_saturation_total{resource="pool"} 2');
  });

  it('keeps other metrics of the registry', async () => {
    const registry = new Registry();
    new Counter({ name: 'mine_total', help: 'mine', registers: [registry] }).inc();
    prometheusSink(registry).saturation('pool');
    expect(await samples(registry)).toContain('mine_total 1');
  });
});

it.each([[undefined], [null], [{}], ['registry'], [{ getSingleMetric: () => undefined }]])(
  'rejects %o as a registry',
  (registry) => {
    expect(() => prometheusSink(registry as never)).toThrow(
      expect.objectContaining({ code: 'CC_LB_INVALID_ARGUMENT', path: 'registry' }),
    );
  },
);

it.each([null, {}, { Counter: class {} }])('rejects %o as prom-client', (client) => {
  expect(() => prometheusSink(new Registry(), client as never)).toThrow(
    expect.objectContaining({ code: 'CC_LB_INVALID_ARGUMENT', path: 'client' }),
  );
});

it('requires prom-client as an argument in a bundle, which cannot import it', () => {
  const { outputFiles } = buildSync({
    ...{ entryPoints: ['src/metrics/prometheus.ts'], bundle: true, platform: 'node', format: 'cjs', write: false },
    ...{ target: 'node20', logLevel: 'silent' },
  });
  const module = { exports: {} as { prometheusSink: typeof prometheusSink } };
  runInThisContext(`(module, require) => {${outputFiles[0]!.text}\n}`)(module, createRequire(import.meta.url));
  const registry = new Registry();
  expect(() => module.exports.prometheusSink(registry)).toThrow(
    'prom-client to be installed, or its module as the second argument',
  );
  module.exports.prometheusSink(registry, promClient).saturation('pool');
  expect(registry.getSingleMetric('cc_lb_plugin_pool_saturation_total')).toBeInstanceOf(Counter);
});
