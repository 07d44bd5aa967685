/**
 * A Worker of a group. A message with a number of units starts a batch, and the reply is the finished units; null
 * closes the port.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { collect } from './facts.ts';
import { JOBS } from './jobs.ts';

const { job, seed } = workerData as { job: keyof typeof JOBS; seed: number };
const work = await JOBS[job](seed);
const port = parentPort!;
port.on('message', async (units: number | null) => {
  if (units === null) return port.close();
  const done = await work(units);
  await collect();
  port.postMessage(done);
});
port.postMessage(0);
