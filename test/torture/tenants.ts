/**
 * 64 modules on three threads: no call sees another's bytes, memory does not grow, and idle memories stay within the
 * budget.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { anonymousBytes, collect, Growth } from './facts.ts';
import { type Figure, grouped, type Scenario } from './scenario.ts';
import { compactMemory, type End, limitMemory, useHugePages } from './system.ts';
import { BUDGET_BYTES, MODULES } from './tenants-job.ts';
import { WorkerGroup } from './worker-group.ts';

const WORKERS = 2;
const BATCH = 500;
const PER_CENT = 5;
const MIB = 1024 * 1024;
/** Memory of JavaScript heaps and allocators in addition to the budget. */
const SLACK_BYTES = 48 * MIB;
const LIMIT_BYTES = 192 * MIB;
/** Longer than the time in which a thread's heap shrinks. */
const IDLE_MS = 1_000;

const compaction = { name: 'compaction', begin: compactMemory };
const hugePages = { name: 'huge pages', begin: useHugePages };
const memoryLimit = { name: 'memory limit', begin: () => limitMemory(LIMIT_BYTES) };

function scenario(conditions: readonly { name: string; begin: () => End | undefined }[]): Scenario {
  return {
    unit: 'calls',
    target: 100_000,
    async run(run) {
      const growth = new Growth(0.25);
      const workers = await WorkerGroup.start('tenants', run.seed, WORKERS);
      await collect();
      const before = anonymousBytes();
      const begun = conditions.map(({ name, begin }) => ({ name, end: begin() }));
      const figures: Figure[] = [];
      try {
        // At least one batch: on a busy machine, admission may take all the time.
        do {
          run.count(await workers.batch(BATCH));
          await growth.sample(run.done);
        } while (run.hasMore);
      } finally {
        for (const { name, end } of begun) {
          figures.push({ name, value: end === undefined ? 'not permitted here' : await end(), ok: null });
        }
      }
      await delay(IDLE_MS);
      await collect();
      const idle = anonymousBytes() - before;
      await workers.end();
      growth.conclude(run.isComplete);
      const value = `${grouped(run.done)} calls of ${MODULES} modules on ${WORKERS + 1} threads`;
      return [
        { name: 'marks of other calls', value: `none in ${value}`, ok: true },
        ...figures,
        growth.levelFigure(PER_CENT),
        ...growth.handleFigures(),
        {
          name: 'idle',
          value: `${(idle / MIB).toFixed(0)} MiB more than before the calls; the budget is ${BUDGET_BYTES / MIB} MiB`,
          ok: idle <= BUDGET_BYTES + SLACK_BYTES,
        },
      ];
    },
  };
}

export const tenants = scenario([compaction]);
/** These two change the system temporarily, so they run only when they are named. */
export const hugeTenants = scenario([compaction, hugePages]);
export const limitedTenants = scenario([memoryLimit]);
