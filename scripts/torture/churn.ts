/** Workers come, use the addon and go in every way that there is; the main thread goes on. */
import { Worker } from 'node:worker_threads';
import { SlotKey, WasmtimeFilterPlugin, WasmtimeRuntime } from '../../src/index.ts';
import { ENDINGS, type Ending } from './endings.ts';
import { collect, Growth } from './facts.ts';
import { order, plugin } from './guests.ts';
import { grouped, promised, type Scenario } from './scenario.ts';
import { trapInV8 } from './v8-traps.ts';

const AT_ONCE = 4;
const LIMIT = 16 * 1024 * 1024;
/** Ends of every kind come before anything like the deadlines of the calls in flight, or right after them. */
const PATIENCE_MS = 2_500;
const STUCK_MS = 30_000;

export const churn: Scenario = {
  unit: 'Workers',
  target: 2_000,
  async run(torment) {
    const runtime = new WasmtimeRuntime();
    const filter = new WasmtimeFilterPlugin(
      runtime,
      runtime.registerFilter(SlotKey.global('f'), 'f', plugin('misbehave')),
    );
    const growth = new Growth(0.25);
    const slowest = new Map<Ending, number>();
    for (let number = 0; torment.goesOn; number += AT_ONCE) {
      const batch = Array.from({ length: AT_ONCE }, async (_, index) => {
        const ending = ENDINGS[(number + index) % ENDINGS.length]!;
        const took = await live(ending, torment.random.below(2) === 0, torment.random.below(20));
        slowest.set(ending, Math.max(took, slowest.get(ending) ?? 0));
      });
      trapInV8();
      filter.filter(...order(''));
      await Promise.all(batch);
      trapInV8();
      filter.filter(...order(''));
      torment.count(AT_ONCE);
      if (number % (2 * AT_ONCE) === 0) await growth.sample(torment.done);
    }
    await collect();
    const { running, stagedBytes } = runtime.stats().engine;
    promised(running === 0 && stagedBytes === 0, () => `${running} guests and ${stagedBytes} staged bytes are left`);
    growth.conclude(torment.full);
    return [
      { name: 'Workers', value: `${grouped(torment.done)}, ended in ${ENDINGS.length} ways`, ok: null },
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

/** One Worker's life. Returns how long it took to end once it was to. */
function live(ending: Ending, pooling: boolean, delay: number): Promise<number> {
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
      else if (Number.isNaN(ends)) reject(new Error(`a Worker left before it was to: ${ending}`));
      else resolve(performance.now() - ends);
    });
  });
}
