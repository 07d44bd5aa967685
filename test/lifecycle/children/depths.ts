/** Calls a guest at every depth of the JavaScript stack: main | worker | worker <stackSizeMb>. */
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { FilterError, StackExhaustedError } from '../../../src/index.ts';
import { Misbehave } from '../guests.ts';

const STEP = 50;

function descend(guest: Misbehave): { answered: number; refused: number } {
  const counts = { answered: 0, refused: 0 };
  const call = () => {
    try {
      guest.call();
      guest.trap('overflow-stack', 'stack-overflow');
      guest.trap();
      counts.answered++;
    } catch (error) {
      if (!(error instanceof FilterError && error.cause instanceof StackExhaustedError)) throw error;
      counts.refused++;
    }
  };
  let deepest = 0;
  const recurse = (depth: number): void => {
    deepest = depth;
    if (depth % STEP === 0) call();
    recurse(depth + 1);
  };
  const callAtEveryFrame = (from: number, to: number): void => {
    // Calls at every frame until JavaScript throws RangeError.
    if (from >= to) call();
    callAtEveryFrame(from + 1, to);
  };
  for (const go of [() => recurse(1), () => callAtEveryFrame(0, deepest - 5)]) {
    try {
      go();
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
    }
  }
  return counts;
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
  const counts = descend(guest);
  console.log(JSON.stringify(counts));
}
