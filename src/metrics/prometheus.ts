import { createRequire } from 'node:module';
import type * as PromClient from 'prom-client';
import { InvalidArgumentError } from '../errors.ts';
import { Labels } from '../isolation/labels.ts';
import { HOOK_KINDS } from '../types.ts';
import type { PrometheusClient, PrometheusRegistry } from './prometheus-client.ts';
import { CallDurations, type DurationHistogram } from './prometheus-durations.ts';
import { labelValue, SlotSeries } from './prometheus-slots.ts';
import { sumWith } from './prometheus-totals.ts';
import type { MetricsSink } from './sink.ts';

/** Bucket limits in seconds: calls take from tens of microseconds up to their deadline. */
const BUCKETS = [
  0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
  1, 2.5, 5,
];
const CALL_DURATION = 'cc_lb_plugin_call_duration_seconds';
const TRAP = 'cc_lb_plugin_trap_total';
const SATURATION = 'cc_lb_plugin_pool_saturation_total';
const REFUSALS = 'cc_lb_plugin_registration_refusals_total';

const HELP: Readonly<Record<string, string>> = {
  [CALL_DURATION]: 'Time spent in a plugin hook, in seconds',
  [TRAP]: 'Plugin calls that trapped or returned a rejected answer',
  [REFUSALS]: 'Registrations that were rejected',
  [SATURATION]: 'Plugin calls rejected because a limit of the runtime was reached',
  cc_lb_plugin_pool_memories_used: 'Linear memories of the pool in use',
  cc_lb_plugin_pool_memories_total: 'Linear memories in the pool',
  cc_lb_plugin_pool_memories_utilization_ratio: 'Share of the linear memories in use',
  cc_lb_plugin_pool_core_instances_used: 'Core instances of the pool in use',
  cc_lb_plugin_pool_core_instances_total: 'Core instances in the pool',
  cc_lb_plugin_pool_core_instances_utilization_ratio: 'Share of the core instances in use',
  cc_lb_plugin_memory_max_pages: 'Maximum pages of 64 KiB of one guest',
  cc_lb_plugin_memory_reservation_bytes: 'Address space reserved for each linear memory',
  cc_lb_plugin_memory_guard_bytes: 'Address space of the guard region after each linear memory',
  cc_lb_plugin_pool_virtual_reservation_bytes: 'Address space reserved by the pool in total',
  cc_lb_compiled_module_cache_hits_total: 'Modules found in the cache of compiled modules',
  cc_lb_compiled_module_cache_misses_total: 'Modules compiled because they were not in the cache',
  cc_lb_compiled_module_cache_evictions_total: 'Compiled modules evicted from the cache',
  cc_lb_compiled_module_cache_entries: 'Compiled modules in the cache',
  cc_lb_compiled_module_cache_bytes: 'Size of the modules in the cache',
  cc_lb_compile_cache_dir_hits_total: 'Compiled modules read from the cache directory',
  cc_lb_compile_cache_dir_misses_total: 'Compiled modules that the cache directory did not have',
  cc_lb_compile_cache_dir_rejected_total: 'Files of the cache directory that were rejected',
  cc_lb_compile_cache_dir_writes_total: 'Compiled modules written to the cache directory',
  cc_lb_compile_cache_dir_write_failures_total: 'Compiled modules that could not be written to the cache directory',
  cc_lb_compile_cache_dir_evictions_total: 'Compiled modules evicted from the cache directory',
};

/**
 * How prom-client's AggregatorRegistry aggregates gauges of several processes; it sums the others. Limits are equal in
 * each process, and the ratio of the total is the mean of the ratios.
 */
const AGGREGATORS: Readonly<Record<string, PromClient.Aggregator>> = {
  cc_lb_plugin_pool_memories_utilization_ratio: 'average',
  cc_lb_plugin_pool_core_instances_utilization_ratio: 'average',
  cc_lb_plugin_memory_max_pages: 'max',
  cc_lb_plugin_memory_reservation_bytes: 'max',
  cc_lb_plugin_memory_guard_bytes: 'max',
};

type TrapLabels = Readonly<Record<'plugin' | 'hook' | 'phase', string>>;

/** What the sinks of one registry share. */
interface Shared {
  /** Counts the sinks that use each `plugin` label. */
  readonly labels: Labels;
  /** The label sets of traps by their `plugin` label, to be removed when no sink uses the label. */
  readonly trapPhases: Map<string, Map<string, TrapLabels>>;
}

const registries = new WeakMap<PrometheusRegistry, Shared>();

function sharedBy(registry: PrometheusRegistry): Shared {
  const shared = registries.get(registry) ?? { labels: new Labels(), trapPhases: new Map() };
  registries.set(registry, shared);
  return shared;
}

/**
 * Returns a sink that records the metrics of one runtime in a prom-client Registry. Requires prom-client 15 or later,
 * installed or, in a bundle, passed as `client`. Any number of runtimes can share a registry, each with a sink of its
 * own: counters are the sum over the runtimes, gauges of slots the maximum.
 * @throws InvalidArgumentError if `registry` or `client` is invalid, or prom-client is missing
 */
export function prometheusSink(
  registry: PrometheusRegistry,
  client: PrometheusClient = loadPromClient(),
): Required<MetricsSink> {
  if (typeof registry?.getSingleMetric !== 'function' || typeof registry.registerMetric !== 'function') {
    throw new InvalidArgumentError('registry', 'expected a prom-client Registry');
  }
  if (![client?.Counter, client?.Gauge].every((type) => typeof type === 'function')) {
    throw new InvalidArgumentError('client', 'expected prom-client');
  }
  const { Counter, Gauge } = client as typeof PromClient;
  const described = (name: string) => ({
    name,
    help: HELP[name] ?? name,
    registers: [registry as PromClient.Registry],
  });
  // Looked up each time, because a registry may be cleared; missing series are created again.
  const counter = (name: string, labelNames: string[] = []) =>
    (registry.getSingleMetric(name) as PromClient.Counter | undefined) ??
    new Counter({ ...described(name), labelNames });
  const gauge = (name: string) =>
    (registry.getSingleMetric(name) as PromClient.Gauge | undefined) ??
    new Gauge({ ...described(name), aggregator: AGGREGATORS[name] ?? 'sum' });
  const durations = (): DurationHistogram => {
    const existing = registry.getSingleMetric(CALL_DURATION);
    if (existing !== undefined) return existing as DurationHistogram;
    const created = new CallDurations(CALL_DURATION, HELP[CALL_DURATION]!, BUCKETS);
    registry.registerMetric(created);
    return created;
  };
  const traps = () => counter(TRAP, ['plugin', 'hook', 'phase']);
  const saturations = () => counter(SATURATION, ['resource']);

  const refusals = () => counter(REFUSALS, ['code']);
  const slots = new SlotSeries(registry, client as typeof PromClient);
  const { labels, trapPhases } = sharedBy(registry);
  const used = new Set<string>();
  /** Returns the `plugin` label of a name, and records that this sink uses it. */
  const use = (name: string): string => {
    const label = labelValue(name);
    if (!used.has(label)) {
      used.add(label);
      labels.acquire(label);
    }
    return label;
  };

  // Created immediately, so that they can be queried before the first call.
  durations();
  traps();
  saturations();
  refusals();
  return {
    call: (plugin, hook, seconds) => durations().observe({ plugin: use(plugin), hook }, seconds),
    trap: (name, hook, phase) => {
      const plugin = use(name);
      const trapLabels = { plugin, hook, phase };
      const known = trapPhases.get(plugin) ?? new Map<string, TrapLabels>();
      trapPhases.set(plugin, known.set(`${hook} ${phase}`, trapLabels));
      traps().inc(trapLabels);
    },
    saturation: (resource) => saturations().inc({ resource }),
    gauge: (name, value) => gauge(name).set(value),
    counter: (name, total, source = '') => {
      const series = counter(name);
      const sum = sumWith(series, source, total);
      series.reset();
      series.inc(sum);
    },
    slot: (status) => slots.set(status),
    forget: (key, name) => {
      slots.remove(key);
      if (name === null) return;
      const plugin = labelValue(name);
      // Another sink of the registry may still use the label.
      if (!used.delete(plugin) || !labels.release(plugin)) return;
      for (const hook of HOOK_KINDS) durations().remove({ plugin, hook });
      for (const trapLabels of trapPhases.get(plugin)?.values() ?? []) traps().remove(trapLabels);
      trapPhases.delete(plugin);
    },
    refusal: (code) => refusals().inc({ code }),
  };
}

/** Loads prom-client on the first use, because it is an optional dependency. */
function loadPromClient(): typeof PromClient {
  try {
    return createRequire(import.meta.url)('prom-client') as typeof PromClient;
  } catch (cause) {
    const problem =
      'prometheusSink requires the package prom-client to be installed, or its module as the second argument';
    throw new InvalidArgumentError('client', problem, { cause });
  }
}
