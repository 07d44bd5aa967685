/** Freshness: nothing of one call is visible to another, whatever the module, its size, its end or the strategy. */
import { Crew } from './crew.ts';
import { grouped, type Scenario } from './scenario.ts';

const WORKERS = 2;
const BATCH = 1_000;

export const canary: Scenario = {
  unit: 'calls',
  target: 1_000_000,
  async run(torment) {
    const crew = await Crew.muster('canary', torment.seed, WORKERS);
    while (torment.goesOn) torment.count(await crew.batch(BATCH));
    await crew.dismiss();
    return [
      { name: 'canary', value: `not seen in ${grouped(torment.done)} calls on ${WORKERS + 1} threads`, ok: true },
    ];
  },
};
