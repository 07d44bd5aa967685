/** Calls guests at every depth of JavaScript's stack, on main or on a Worker: main | worker | worker <stackSizeMb>. */
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { FilterError, StackExhaustedError } from '../../../src/index.ts';
import { Misbehave } from '../guests.ts';

const STEP = 50;

function descend(guest: Misbehave): { answered: number; refused: number } {
  const told = { answered: 0, refused: 0 };
  const call = () => {
    try {
      guest.call();
      guest.trap('overflow-stack', 'stack-overflow');
      guest.trap();
      told.answered++;
    } catch (error) {
      if (!(error instanceof FilterError && error.cause instanceof StackExhaustedError)) throw error;
      told.refused++;
    }
  };
  let deepest = 0;
  const recurse = (depth: number): void => {
    deepest = depth;
    if (depth % STEP === 0) call();
    recurse(depth + 1);
  };
  const rest = (from: number, to: number): void => {
    // Up to where JavaScript itself ends, a frame at a time.
    if (from >= to) call();
    rest(from + 1, to);
  };
  for (const go of [() => recurse(1), () => rest(0, deepest - 5)]) {
    try {
      go();
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
    }
  }
  return told;
}

const [where = '', stackSizeMb] = isMainThread ? process.argv.slice(2) : (workerData as string[]);
if (isMainThread && where === 'worker') {
  const resourceLimits = stackSizeMb === undefined ? {} : { stackSizeMb: Number(stackSizeMb) };
  const worker = new Worker(new URL(import.meta.url), { workerData: [where, stackSizeMb], resourceLimits });
  worker.on('error', (error) => {
    throw error;
  });
} else {
  const guest = new Misbehave();
  const told = descend(guest);
  console.log(JSON.stringify(told));
}
