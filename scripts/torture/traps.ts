/** Trap storm: every kind of trap on the main thread and four Workers at once, with V8's own traps between them. */
import { Crew } from './crew.ts';
import { Growth } from './facts.ts';
import { grouped, type Scenario } from './scenario.ts';

const WORKERS = 4;
const BATCH = 1_000;
const LIMIT = 1024 * 1024;

export const traps: Scenario = {
  unit: 'traps',
  target: 1_000_000,
  async run(torment) {
    const growth = new Growth(0.25);
    const crew = await Crew.muster('traps', torment.seed, WORKERS);
    while (torment.goesOn) {
      torment.count(await crew.batch(BATCH));
      await growth.sample(torment.done);
    }
    await crew.dismiss();
    growth.conclude(torment.full);
    return [
      { name: 'traps', value: `${grouped(torment.done)} on ${WORKERS + 1} threads, each told by its name`, ok: null },
      growth.slopeFigure(LIMIT),
      ...growth.handleFigures(),
    ];
  },
};
