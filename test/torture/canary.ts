/** Isolation: no call sees data of another call, for any module, memory size, outcome and allocation strategy. */

import { grouped, type Scenario } from './scenario.ts';
import { WorkerGroup } from './worker-group.ts';

const WORKERS = 2;
const BATCH = 1_000;

export const canary: Scenario = {
  unit: 'calls',
  target: 1_000_000,
  async run(run) {
    const workers = await WorkerGroup.start('canary', run.seed, WORKERS);
    while (run.hasMore) run.count(await workers.batch(BATCH));
    await workers.end();
    return [{ name: 'canary', value: `not seen in ${grouped(run.done)} calls on ${WORKERS + 1} threads`, ok: true }];
  },
};
