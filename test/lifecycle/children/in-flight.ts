/** Ends with calls in flight that would otherwise run for minutes: exit | throw | close | worker-exit | worker-throw. And less long for worker-terminate. */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { Misbehave } from '../guests.ts';

const MINUTES = 600_000;
const how = isMainThread ? process.argv[2]! : (workerData as string);
const guest = new Misbehave();
await guest.callElsewhere();

/** More than run at once. */
function fly(deadlineMs: number): void {
  for (let count = 0; count < 6; count++) guest.callElsewhere('loop', deadlineMs).catch(() => {});
}

if (!isMainThread) {
  fly(how === 'worker-terminate' ? 500 : MINUTES);
  setTimeout(() => {
    parentPort!.postMessage('in flight');
    if (how === 'worker-exit') process.exit(0);
    if (how === 'worker-throw') throw new Error('deliberate');
  }, 20);
} else if (how.startsWith('worker')) {
  for (let count = 0; count < 3; count++) {
    const worker = new Worker(new URL(import.meta.url), { workerData: how });
    worker.on('error', () => {});
    worker.on('message', () => {
      if (how === 'worker-terminate') void worker.terminate();
    });
    await new Promise((resolve) => worker.on('exit', resolve));
    trapBetween();
    // The places that the Worker's calls had off the JavaScript threads are free again.
    await guest.callElsewhere();
  }
  console.log('went on');
} else {
  fly(how === 'close' ? 200 : MINUTES);
  await new Promise((resolve) => setTimeout(resolve, 20));
  if (how === 'close') {
    await guest.runtime[Symbol.asyncDispose]();
    console.log('drained');
  } else if (how === 'exit') {
    process.exit(7);
  } else {
    throw new Error('deliberate');
  }
}

function trapBetween(): void {
  for (let count = 0; count < 20; count++) guest.trap();
}
