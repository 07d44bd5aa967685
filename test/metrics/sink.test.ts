import { afterEach, describe, expect, it, vi } from 'vitest';
import {
  guardedSink,
  type MetricsSink,
  noMetrics,
  type PoolStats,
  publishPoolMetrics,
} from '../../src/metrics/sink.ts';

const stats: PoolStats = {
  engine: 'e',
  allocationStrategy: 'pooling',
  poolTotalMemories: 64,
  poolTotalCoreInstances: 32,
  memoriesUsed: 16,
  coreInstancesUsed: 40,
  memoryMaxPages: 2048,
  memoryReservationBytes: 256,
  memoryGuardBytes: 64,
  virtualMemoryReservationBytes: 1280,
  compiledCache: { hits: 1, misses: 2, evictions: 3, entries: 4, bytes: 5 },
  compileCache: null,
};

/** Creates a sink that records the last value of each report, by name. */
function recorder() {
  const values = new Map<string, number>();
  const sink: MetricsSink = {
    call: (plugin, hook, seconds) => values.set(`call ${plugin} ${hook}`, seconds),
    trap: (plugin, hook, phase) => values.set(`trap ${plugin} ${hook} ${phase}`, 1),
    saturation: (resource) => values.set(`saturation ${resource}`, 1),
    gauge: (name, value) => values.set(name, value),
  };
  return { sink, values };
}

function published(changes: Partial<PoolStats>) {
  const { sink, values } = recorder();
  publishPoolMetrics(guardedSink(sink), { ...stats, ...changes });
  return values;
}

describe('publishPoolMetrics', () => {
  it('publishes every series, with ratios of at most 1', () => {
    expect(Object.fromEntries(published({}))).toEqual({
      cc_lb_plugin_pool_memories_used: 16,
      cc_lb_plugin_pool_memories_total: 64,
      cc_lb_plugin_pool_memories_utilization_ratio: 0.25,
      cc_lb_plugin_pool_core_instances_used: 40,
      cc_lb_plugin_pool_core_instances_total: 32,
      cc_lb_plugin_pool_core_instances_utilization_ratio: 1,
      cc_lb_plugin_memory_max_pages: 2048,
      cc_lb_plugin_memory_reservation_bytes: 256,
      cc_lb_plugin_memory_guard_bytes: 64,
      cc_lb_plugin_pool_virtual_reservation_bytes: 1280,
      cc_lb_compiled_module_cache_hits_total: 1,
      cc_lb_compiled_module_cache_misses_total: 2,
      cc_lb_compiled_module_cache_evictions_total: 3,
      cc_lb_compiled_module_cache_entries: 4,
      cc_lb_compiled_module_cache_bytes: 5,
      cc_lb_compile_cache_dir_hits_total: 0,
      cc_lb_compile_cache_dir_misses_total: 0,
      cc_lb_compile_cache_dir_rejected_total: 0,
      cc_lb_compile_cache_dir_writes_total: 0,
      cc_lb_compile_cache_dir_write_failures_total: 0,
      cc_lb_compile_cache_dir_evictions_total: 0,
    });
  });

  it('publishes 0 for usage on demand, and the settings', () => {
    const values = published({ allocationStrategy: 'on-demand' });
    for (const what of ['memories', 'core_instances']) {
      for (const kind of ['used', 'total', 'utilization_ratio']) {
        expect(values.get(`cc_lb_plugin_pool_${what}_${kind}`)).toBe(0);
      }
    }
    expect(values.get('cc_lb_plugin_memory_max_pages')).toBe(2048);
  });

  it('publishes ratio 0 when a total is 0', () => {
    const values = published({ poolTotalMemories: 0, memoriesUsed: 0 });
    expect(values.get('cc_lb_plugin_pool_memories_utilization_ratio')).toBe(0);
  });
});

describe('guardedSink', () => {
  afterEach(() => vi.restoreAllMocks());

  const everyMethod = (sink: Required<MetricsSink>) => {
    sink.call('p', 'filter', 0.5);
    sink.trap('p', 'filter', 'cc_lb_filter');
    sink.saturation('stores');
    sink.gauge('g', 1);
    sink.counter('c', 2);
  };

  it('forwards every report, and counters as gauges when the sink has no counter method', () => {
    const { sink, values } = recorder();
    everyMethod(guardedSink(sink));
    expect([...values.keys()]).toEqual(['call p filter', 'trap p filter cc_lb_filter', 'saturation stores', 'g', 'c']);
  });

  it('calls the methods with the sink as this', () => {
    class Counting implements MetricsSink {
      calls = 0;
      call(): void {
        this.calls++;
      }
      trap(): void {}
      saturation(): void {}
      gauge(): void {}
    }
    const sink = new Counting();
    guardedSink(sink).call('p', 'filter', 1);
    expect(sink.calls).toBe(1);
  });

  it.each([
    [
      'an error',
      () => {
        throw new Error('disk full');
      },
      /disk full/,
    ],
    [
      'a value that cannot be printed',
      () => {
        throw Object.create(null);
      },
      /cannot be printed/,
    ],
    [
      'undefined',
      () => {
        throw undefined;
      },
      /undefined/,
    ],
    [
      'a thenable with a hostile getter',
      () =>
        new Proxy(
          {},
          {
            get() {
              throw new Error('getter');
            },
          },
        ),
      /getter/,
    ],
    [
      'a rejection',
      async () => {
        throw new Error('later');
      },
      /later/,
    ],
  ])('turns %s into one warning for each method', async (_, fail, message) => {
    const warnings = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const sink = guardedSink({ call: fail, trap: fail, saturation: fail, gauge: fail, counter: fail });
    everyMethod(sink);
    everyMethod(sink);
    await new Promise((resolve) => setImmediate(resolve));
    expect(warnings).toHaveBeenCalledTimes(5);
    for (const [warning] of warnings.mock.calls) expect(warning).toMatch(message);
  });

  it('rejects an invalid sink with the name of the method', () => {
    const { sink } = recorder();
    const broken = (changes: object) => () => guardedSink({ ...sink, ...changes });
    expect(broken({ trap: undefined })).toThrow(expect.objectContaining({ path: 'metrics.trap' }));
    expect(broken({ counter: 1 })).toThrow(expect.objectContaining({ path: 'metrics.counter' }));
    expect(() => guardedSink(null as never)).toThrow(expect.objectContaining({ path: 'metrics' }));
  });

  it('returns noMetrics without a sink', () => {
    expect(guardedSink(undefined)).toBe(noMetrics);
    everyMethod(noMetrics);
  });
});
