/** Every kind of trap on the main thread and four Workers at the same time, with V8's own traps in between. */

import { Growth } from './facts.ts';
import { grouped, type Scenario } from './scenario.ts';
import { WorkerGroup } from './worker-group.ts';

const WORKERS = 4;
const BATCH = 1_000;
const LIMIT = 1024 * 1024;

export const traps: Scenario = {
  unit: 'traps',
  target: 1_000_000,
  async run(run) {
    const growth = new Growth(0.25);
    const workers = await WorkerGroup.start('traps', run.seed, WORKERS);
    while (run.hasMore) {
      run.count(await workers.batch(BATCH));
      await growth.sample(run.done);
    }
    await workers.end();
    growth.conclude(run.isComplete);
    return [
      { name: 'traps', value: `${grouped(run.done)} on ${WORKERS + 1} threads, each reported by its name`, ok: null },
      growth.slopeFigure(LIMIT),
      ...growth.handleFigures(),
    ];
  },
};
