// A thread that posts a message at each time at which a request is due. The timers of an event loop have a resolution of
// 1 ms, so that requests would come in bursts.
import { parentPort, workerData } from 'node:worker_threads';

const { gapMs, durationMs } = workerData;
const sleeping = new Int32Array(new SharedArrayBuffer(4));
const now = () => performance.timeOrigin + performance.now();

const began = now();
for (let due = began; due < began + durationMs; due += gapMs) {
  const early = due - now();
  if (early > 0) Atomics.wait(sleeping, 0, 0, early);
  parentPort.postMessage(due);
}
