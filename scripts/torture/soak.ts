/** Soak: a long time of ordinary traffic leaves memory, descriptors, mappings and threads where they were. */
import { Crew } from './crew.ts';
import { Growth } from './facts.ts';
import { grouped, type Scenario } from './scenario.ts';

const WORKERS = 1;
const SAMPLES = 100;
const PER_CENT = 5;

export const soak: Scenario = {
  unit: 'calls',
  target: 10_000_000,
  async run(torment) {
    const growth = new Growth(0.1);
    const crew = await Crew.muster('soak', torment.seed, WORKERS);
    const began = performance.now();
    while (torment.goesOn) {
      torment.count(await crew.batch(Math.min(5_000, torment.target / SAMPLES / (WORKERS + 1))));
      await growth.sample(torment.done);
    }
    const perSecond = torment.done / ((performance.now() - began) / 1_000);
    await crew.dismiss();
    growth.conclude(torment.full);
    return [
      { name: 'calls', value: `${grouped(torment.done)} on ${WORKERS + 1} threads, ${grouped(perSecond)}/s`, ok: null },
      growth.levelFigure(PER_CENT),
      ...growth.handleFigures(),
    ];
  },
};
