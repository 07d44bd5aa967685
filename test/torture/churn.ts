/** Workers start, use the addon and end in every possible way, while the main thread continues its calls. */
import { Worker } from 'node:worker_threads';
import { SlotKey, WasmtimeFilterPlugin, WasmtimeRuntime } from '../../src/index.ts';
import { ENDINGS, type Ending } from './endings.ts';
import { collect, Growth } from './facts.ts';
import { misbehaving, plugin } from './guests.ts';
import { ensure, grouped, type Scenario } from './scenario.ts';
import { trapInV8 } from './v8-traps.ts';

const AT_ONCE = 4;
const LIMIT = 16 * 1024 * 1024;
/** A Worker ends before the deadlines of its calls in flight, or soon after them. */
const PATIENCE_MS = 2_500;
const STUCK_MS = 30_000;

export const churn: Scenario = {
  unit: 'Workers',
  target: 2_000,
  async run(run) {
    const runtime = new WasmtimeRuntime();
    const filter = new WasmtimeFilterPlugin(
      runtime,
      runtime.registerFilter(SlotKey.global('f'), 'f', plugin('misbehave')),
    );
    const growth = new Growth(0.25);
    const slowest = new Map<Ending, number>();
    for (let number = 0; run.hasMore; number += AT_ONCE) {
      const batch = Array.from({ length: AT_ONCE }, async (_, index) => {
        const ending = ENDINGS[(number + index) % ENDINGS.length]!;
        const took = await runWorker(ending, run.random.below(2) === 0, run.random.below(20));
        slowest.set(ending, Math.max(took, slowest.get(ending) ?? 0));
      });
      trapInV8();
      filter.filter(...misbehaving(''));
      await Promise.all(batch);
      trapInV8();
      filter.filter(...misbehaving(''));
      run.count(AT_ONCE);
      if (number % (2 * AT_ONCE) === 0) await growth.sample(run.done);
    }
    await collect();
    const { running, stagedBytes } = runtime.stats().engine;
    ensure(
      running === 0 && stagedBytes === 0,
      () => `${running} guests still run and ${stagedBytes} bytes are still staged`,
    );
    growth.conclude(run.isComplete);
    return [
      { name: 'Workers', value: `${grouped(run.done)}, ended in ${ENDINGS.length} ways`, ok: null },
      ...[...slowest].map(([ending, ms]) => ({
        name: ending,
        value: `within ${ms.toFixed(0)} ms`,
        ok: ms < PATIENCE_MS,
      })),
      growth.slopeFigure(LIMIT),
      ...growth.handleFigures(),
    ];
  },
};

/** Starts one Worker. Returns the time in ms from the start of its end to its exit. */
function runWorker(ending: Ending, pooling: boolean, delay: number): Promise<number> {
  const worker = new Worker(new URL('./churn-worker.js', import.meta.url), { workerData: { ending, pooling } });
  return new Promise((resolve, reject) => {
    let ends = Number.NaN;
    let failure: Error | undefined;
    const patience = setTimeout(() => reject(new Error(`a Worker did not end: ${ending}`)), STUCK_MS);
    worker.on('message', () => {
      ends = performance.now();
      if (ending.startsWith('terminated')) setTimeout(() => void worker.terminate(), delay);
    });
    worker.on('error', (error) => {
      if (error.message !== 'deliberate') failure = error;
    });
    worker.on('exit', () => {
      clearTimeout(patience);
      if (failure !== undefined) reject(failure);
      else if (Number.isNaN(ends)) reject(new Error(`a Worker exited too early: ${ending}`));
      else resolve(performance.now() - ends);
    });
  });
}
