/** Hostile modules: each is admitted or refused in time, and an ordinary plugin is admitted afterwards. */
import { admitWasmAsync, WasmtimeRuntime, WasmtimeRuntimeError } from '../../src/index.ts';
import { plugin } from './guests.ts';
import { HOSTILE_MODULES } from './hostile-modules.ts';
import { ensure, type Figure, type Scenario } from './scenario.ts';

const DEADLINE_MS = 1_000;
const COMPILE_MS = 10_000;
/** Compilation and two probes, and time for inspection, instantiation and a busy machine. */
const LIMIT_MS = COMPILE_MS + 2 * DEADLINE_MS + 3_000;
/** The modules and Node: the compiler is in another process. */
const MOST_MIB = 768;
/** How long the event loop may be blocked while another thread admits a module. */
const STALL_MS = 1_000;

export const hostile: Scenario = {
  unit: 'modules',
  target: Object.keys(HOSTILE_MODULES).length,
  async run(run) {
    const runtime = new WasmtimeRuntime({ deadlineMs: DEADLINE_MS, compileTimeoutMs: COMPILE_MS });
    const figures: Figure[] = [];
    for (const [name, make] of Object.entries(HOSTILE_MODULES)) {
      if (!run.hasMore) break;
      const bytes = make();
      const began = performance.now();
      const stall = stallWatch();
      const verdict = await admitWasmAsync(runtime, bytes).then(
        () => 'admitted',
        (error: unknown) => {
          ensure(error instanceof WasmtimeRuntimeError, () => `${name}: not a typed error: ${error}`);
          return (error as Error).message;
        },
      );
      const took = performance.now() - began;
      const stalled = stall();
      const value = `${took.toFixed(0)} ms, event loop held ${stalled.toFixed(0)} ms: ${verdict.slice(0, 100)}`;
      figures.push({ name, value, ok: took < LIMIT_MS && stalled < STALL_MS });
      run.count(1);
    }
    await admitWasmAsync(runtime, plugin('cache-aware'));
    const peak = process.resourceUsage().maxRSS / 1024;
    figures.push({ name: 'resident memory at most', value: `${peak.toFixed(0)} MiB`, ok: peak < MOST_MIB });
    runtime.close();
    return figures;
  },
};

/** Measures how long the event loop is blocked at most; the returned function ends the measurement and returns it. */
function stallWatch(): () => number {
  let last = performance.now();
  let most = 0;
  const look = () => {
    const now = performance.now();
    most = Math.max(most, now - last);
    last = now;
  };
  const timer = setInterval(look, 5);
  return () => {
    clearInterval(timer);
    look();
    return most;
  };
}
