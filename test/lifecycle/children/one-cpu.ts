/** Threads that never pause share the only CPU with the thread that ends what is over its time. */
import { isMainThread, Worker } from 'node:worker_threads';
import { Misbehave } from '../guests.ts';

if (isMainThread) {
  const guest = new Misbehave();
  const workers = [1, 2, 3, 4].map(() => new Worker(new URL(import.meta.url)));
  await Promise.all(workers.map((worker) => new Promise((resolve) => worker.on('online', resolve))));
  for (let count = 0; count < 3; count++) guest.trap('loop', 'interrupt', 50);
  await guest.callElsewhere('loop', 50).catch(() => {});
  console.log('every loop ended');
  process.exit();
} else {
  for (;;);
}
