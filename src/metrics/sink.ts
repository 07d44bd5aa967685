import { InvalidArgumentError, type SaturatedResource } from '../errors.ts';
import type { SlotStatus } from '../isolation/status.ts';
import type { NativeCacheDirStats } from '../native/addon.ts';
import type { SlotKey } from '../slot-key.ts';

/**
 * Receives the runtime's metrics. Methods are called after the reported call has released its instance and permits, so
 * they may call the runtime again; what they throw becomes a process warning.
 */
export interface MetricsSink {
  /** A hook was entered and returned after `seconds`, whether it succeeded or failed. */
  call(plugin: string, hook: string, seconds: number): void;
  /** A hook trapped, or its answer was rejected (phase `reject`). */
  trap(plugin: string, hook: string, phase: string): void;
  /** A call was rejected because a limit was reached. */
  saturation(resource: SaturatedResource): void;
  /** The current value of a gauge, by the name of its series. */
  gauge(name: string, value: number): void;
  /**
   * The total of a counter. `source` identifies the engine that counted it: the totals of two engines add up, those of
   * two runtimes of one engine are the same. A sink without this method receives counters through `gauge`.
   */
  counter?(name: string, total: number, source?: string): void;
  /** The state of one slot, whenever metrics are published. */
  slot?(status: SlotStatus): void;
  /**
   * A slot was evicted or got another version. The sink must remove the series of its key, and those of calls with the
   * label `plugin` unless it is null, which means that another slot uses the label.
   */
  forget?(key: SlotKey, plugin: string | null): void;
  /** A registration was rejected with an error of this code. */
  refusal?(code: string): void;
}

/** A snapshot of the engine, which `publishPoolMetrics` publishes. */
export interface PoolStats {
  /** Identifies the engine within the process. */
  readonly engine: string;
  readonly allocationStrategy: 'on-demand' | 'pooling';
  readonly poolTotalMemories: number;
  readonly poolTotalCoreInstances: number;
  /** Linear memories of the pool in use; ignored on demand. */
  readonly memoriesUsed: number;
  /** Core instances of the pool in use; ignored on demand. */
  readonly coreInstancesUsed: number;
  /** Pages of 64 KiB. */
  readonly memoryMaxPages: number;
  readonly memoryReservationBytes: number;
  readonly memoryGuardBytes: number;
  readonly virtualMemoryReservationBytes: number;
  readonly compiledCache: {
    readonly hits: number;
    readonly misses: number;
    readonly evictions: number;
    readonly entries: number;
    readonly bytes: number;
  };
  /** The directory of compiled modules; null without one. */
  readonly compileCache: ({ readonly directory: string } & NativeCacheDirStats) | null;
}

const METHODS = ['call', 'trap', 'saturation', 'gauge'] as const;
const OPTIONAL = ['counter', 'slot', 'forget', 'refusal'] as const;
type Method = (typeof METHODS)[number] | (typeof OPTIONAL)[number];

/** The sink of a runtime without metrics: every method does nothing. */
export const noMetrics: Required<MetricsSink> = {
  call() {},
  trap() {},
  saturation() {},
  gauge() {},
  counter() {},
  slot() {},
  forget() {},
  refusal() {},
};

/**
 * Validates the methods of the sink and wraps it, so that it cannot fail a call: what it throws, or what a returned
 * promise rejects with, becomes a process warning, once for each method.
 * @throws InvalidArgumentError if a method of the sink is missing
 */
export function guardedSink(sink: MetricsSink | undefined, path = 'metrics'): Required<MetricsSink> {
  if (sink === undefined) return noMetrics;
  if (typeof sink !== 'object' || sink === null) throw new InvalidArgumentError(path, 'expected a metrics sink');
  for (const method of METHODS) {
    if (typeof sink[method] !== 'function') throw new InvalidArgumentError(`${path}.${method}`, 'expected a function');
  }
  for (const method of OPTIONAL) {
    if (sink[method] !== undefined && typeof sink[method] !== 'function') {
      throw new InvalidArgumentError(`${path}.${method}`, 'expected a function or undefined');
    }
  }
  return new GuardedSink(sink);
}

/** The counts without a directory. */
const NO_COMPILE_CACHE = { directory: '', hits: 0, misses: 0, rejected: 0, writes: 0, writeFailures: 0, evictions: 0 };

/** Publishes the gauges of the pool and the series of the cache of compiled modules. */
export function publishPoolMetrics(sink: Required<MetricsSink>, stats: PoolStats): void {
  // On demand there is no pool, and its series are 0.
  const pooling = stats.allocationStrategy === 'pooling';
  const memories = pooling ? stats.memoriesUsed : 0;
  const instances = pooling ? stats.coreInstancesUsed : 0;
  sink.gauge('cc_lb_plugin_pool_memories_used', memories);
  sink.gauge('cc_lb_plugin_pool_core_instances_used', instances);
  sink.gauge('cc_lb_plugin_pool_memories_total', pooling ? stats.poolTotalMemories : 0);
  sink.gauge('cc_lb_plugin_pool_core_instances_total', pooling ? stats.poolTotalCoreInstances : 0);
  sink.gauge('cc_lb_plugin_pool_memories_utilization_ratio', ratio(memories, stats.poolTotalMemories));
  sink.gauge('cc_lb_plugin_pool_core_instances_utilization_ratio', ratio(instances, stats.poolTotalCoreInstances));
  sink.gauge('cc_lb_plugin_memory_max_pages', stats.memoryMaxPages);
  sink.gauge('cc_lb_plugin_memory_reservation_bytes', stats.memoryReservationBytes);
  sink.gauge('cc_lb_plugin_memory_guard_bytes', stats.memoryGuardBytes);
  sink.gauge('cc_lb_plugin_pool_virtual_reservation_bytes', stats.virtualMemoryReservationBytes);
  sink.counter('cc_lb_compiled_module_cache_hits_total', stats.compiledCache.hits, stats.engine);
  sink.counter('cc_lb_compiled_module_cache_misses_total', stats.compiledCache.misses, stats.engine);
  sink.counter('cc_lb_compiled_module_cache_evictions_total', stats.compiledCache.evictions, stats.engine);
  sink.gauge('cc_lb_compiled_module_cache_entries', stats.compiledCache.entries);
  sink.gauge('cc_lb_compiled_module_cache_bytes', stats.compiledCache.bytes);
  const { directory, ...counts } = stats.compileCache ?? NO_COMPILE_CACHE;
  sink.counter('cc_lb_compile_cache_dir_hits_total', counts.hits, directory);
  sink.counter('cc_lb_compile_cache_dir_misses_total', counts.misses, directory);
  sink.counter('cc_lb_compile_cache_dir_rejected_total', counts.rejected, directory);
  sink.counter('cc_lb_compile_cache_dir_writes_total', counts.writes, directory);
  sink.counter('cc_lb_compile_cache_dir_write_failures_total', counts.writeFailures, directory);
  sink.counter('cc_lb_compile_cache_dir_evictions_total', counts.evictions, directory);
}

function ratio(used: number, total: number): number {
  return Math.min(1, Math.max(0, used / Math.max(1, total)));
}

class GuardedSink implements Required<MetricsSink> {
  readonly #sink: MetricsSink;
  readonly #warned = new Set<Method>();

  constructor(sink: MetricsSink) {
    this.#sink = sink;
  }

  call(plugin: string, hook: string, seconds: number): void {
    try {
      this.#settle('call', this.#sink.call(plugin, hook, seconds));
    } catch (error) {
      this.#warn('call', error);
    }
  }

  trap(plugin: string, hook: string, phase: string): void {
    try {
      this.#settle('trap', this.#sink.trap(plugin, hook, phase));
    } catch (error) {
      this.#warn('trap', error);
    }
  }

  saturation(resource: SaturatedResource): void {
    try {
      this.#settle('saturation', this.#sink.saturation(resource));
    } catch (error) {
      this.#warn('saturation', error);
    }
  }

  gauge(name: string, value: number): void {
    try {
      this.#settle('gauge', this.#sink.gauge(name, value));
    } catch (error) {
      this.#warn('gauge', error);
    }
  }

  counter(name: string, total: number, source?: string): void {
    if (this.#sink.counter === undefined) {
      this.gauge(name, total);
      return;
    }
    try {
      this.#settle('counter', this.#sink.counter(name, total, source));
    } catch (error) {
      this.#warn('counter', error);
    }
  }

  slot(status: SlotStatus): void {
    try {
      this.#settle('slot', this.#sink.slot?.(status));
    } catch (error) {
      this.#warn('slot', error);
    }
  }

  forget(key: SlotKey, plugin: string | null): void {
    try {
      this.#settle('forget', this.#sink.forget?.(key, plugin));
    } catch (error) {
      this.#warn('forget', error);
    }
  }

  refusal(code: string): void {
    try {
      this.#settle('refusal', this.#sink.refusal?.(code));
    } catch (error) {
      this.#warn('refusal', error);
    }
  }

  /** Handles the rejection of an async method: an unhandled rejection would end the process. */
  #settle(method: Method, returned: unknown): void {
    if (returned === undefined) return;
    Promise.resolve(returned).catch((error: unknown) => this.#warn(method, error));
  }

  #warn(method: Method, error: unknown): void {
    if (this.#warned.has(method)) return;
    this.#warned.add(method);
    process.emitWarning(`the metrics sink failed in ${method}: ${describe(error)}`, {
      type: 'CcLbMetricsWarning',
      code: 'CC_LB_METRICS_SINK',
    });
  }
}

function describe(error: unknown): string {
  try {
    return String(error);
  } catch {
    return 'a value that cannot be printed';
  }
}
