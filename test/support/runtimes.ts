/** Creates runtimes for a test file and closes them after each test. */
import { afterEach } from 'vitest';
import { type HotEngineConfigInput, type MetricsSink, type RuntimeOptions, WasmtimeRuntime } from '../../src/index.ts';

const open: WasmtimeRuntime[] = [];
let groups = 0;

afterEach(async () => {
  await Promise.all(open.splice(0).map((runtime) => runtime[Symbol.asyncDispose]()));
});

/** Creates a runtime that is closed when the test ends. */
export function newRuntime(config?: HotEngineConfigInput, options?: RuntimeOptions): WasmtimeRuntime {
  const runtime = new WasmtimeRuntime(config, options);
  open.push(runtime);
  return runtime;
}

/** Creates a runtime whose engine no other test uses. */
export function isolatedRuntime(config?: HotEngineConfigInput, options?: RuntimeOptions): WasmtimeRuntime {
  groups += 1;
  return newRuntime(config, { engineGroup: `isolated-${process.pid}-${groups}`, ...options });
}

/** Both allocation strategies; the pool is small. */
export const STRATEGIES: readonly { strategy: string; config: HotEngineConfigInput }[] = [
  { strategy: 'on-demand', config: { allocationStrategy: 'on-demand' } },
  { strategy: 'pooling', config: { allocationStrategy: 'pooling', poolTotalMemories: 8, poolTotalCoreInstances: 8 } },
];

/** Creates a sink that records one line per report. Durations are in `seconds` instead. */
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
