/**
 * Ends with calls in flight: exit | throw | close | worker-exit | worker-throw | worker-terminate. The calls would run for
 * minutes, except with close and worker-terminate, which wait for them.
 */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { Misbehave } from '../guests.ts';

const MINUTES = 600_000;
const how = isMainThread ? process.argv[2]! : (workerData as string);
const guest = new Misbehave();
await guest.callOffThread();

/** Starts more calls than can run at once. */
function startCalls(deadlineMs: number): void {
  for (let count = 0; count < 6; count++) guest.callOffThread('loop', deadlineMs).catch(() => {});
}

if (!isMainThread) {
  startCalls(how === 'worker-terminate' ? 500 : MINUTES);
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
    // Succeeds only if the permits of the Worker's off-thread calls are free.
    await guest.callOffThread();
  }
  console.log('continued');
} else {
  startCalls(how === 'close' ? 200 : MINUTES);
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
