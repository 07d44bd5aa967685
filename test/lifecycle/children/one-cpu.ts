/** Busy threads share the only CPU with the watchdog thread, which must still interrupt expired calls. */
import { isMainThread, Worker } from 'node:worker_threads';
import { Misbehave } from '../guests.ts';

if (isMainThread) {
  const guest = new Misbehave();
  const workers = [1, 2, 3, 4].map(() => new Worker(new URL(import.meta.url)));
  await Promise.all(workers.map((worker) => new Promise((resolve) => worker.on('online', resolve))));
  for (let count = 0; count < 3; count++) guest.trap('loop', 'interrupt', 50);
  await guest.callOffThread('loop', 50).catch(() => {});
  console.log('every loop ended');
  process.exit();
} else {
  for (;;);
}
