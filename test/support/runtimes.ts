/** Runtimes of one test file, closed after each test. */
import { afterEach } from 'vitest';
import { type HotEngineConfigInput, type MetricsSink, type RuntimeOptions, WasmtimeRuntime } from '../../src/index.ts';

const open: WasmtimeRuntime[] = [];
let groups = 0;

afterEach(async () => {
  await Promise.all(open.splice(0).map((runtime) => runtime[Symbol.asyncDispose]()));
});

/** A runtime that lives as long as the test. */
export function newRuntime(config?: HotEngineConfigInput, options?: RuntimeOptions): WasmtimeRuntime {
  const runtime = new WasmtimeRuntime(config, options);
  open.push(runtime);
  return runtime;
}

/** One with an engine that no other test shares. */
export function lonelyRuntime(config?: HotEngineConfigInput, options?: RuntimeOptions): WasmtimeRuntime {
  groups += 1;
  return newRuntime(config, { engineGroup: `lonely-${process.pid}-${groups}`, ...options });
}

/** Both allocation strategies, the pool a small one. */
export const STRATEGIES: readonly { strategy: string; config: HotEngineConfigInput }[] = [
  { strategy: 'on-demand', config: { allocationStrategy: 'on-demand' } },
  { strategy: 'pooling', config: { allocationStrategy: 'pooling', poolTotalMemories: 8, poolTotalCoreInstances: 8 } },
];

/** A sink that keeps what it is told, one line each; durations are left out. */
export function recorder(): { sink: MetricsSink; lines: string[]; seconds: number[]; take(): string[] } {
  const lines: string[] = [];
  const seconds: number[] = [];
  const sink: MetricsSink = {
    call(plugin, hook, duration) {
      lines.push(`call ${plugin} ${hook}`);
      seconds.push(duration);
    },
    trap: (plugin, hook, phase) => void lines.push(`trap ${plugin} ${hook} ${phase}`),
    saturation: (resource) => void lines.push(`saturation ${resource}`),
    gauge: (name, value) => void lines.push(`gauge ${name} ${value}`),
  };
  return { sink, lines, seconds, take: () => lines.splice(0) };
}
