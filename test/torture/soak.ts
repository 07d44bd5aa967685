/** Ordinary traffic for a long time: memory, descriptors, mappings and threads do not grow. */

import { Growth } from './facts.ts';
import { grouped, type Scenario } from './scenario.ts';
import { WorkerGroup } from './worker-group.ts';

const WORKERS = 1;
const SAMPLES = 100;
const PER_CENT = 5;

export const soak: Scenario = {
  unit: 'calls',
  target: 10_000_000,
  async run(run) {
    const growth = new Growth(0.1);
    const workers = await WorkerGroup.start('soak', run.seed, WORKERS);
    const began = performance.now();
    while (run.hasMore) {
      run.count(await workers.batch(Math.min(5_000, run.target / SAMPLES / (WORKERS + 1))));
      await growth.sample(run.done);
    }
    const perSecond = run.done / ((performance.now() - began) / 1_000);
    await workers.end();
    growth.conclude(run.isComplete);
    return [
      { name: 'calls', value: `${grouped(run.done)} on ${WORKERS + 1} threads, ${grouped(perSecond)}/s`, ok: null },
      growth.levelFigure(PER_CENT),
      ...growth.handleFigures(),
    ];
  },
};
