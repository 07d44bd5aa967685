/** Alternates traps of guests and of V8's own wasm on three threads at once: ours-first | v8-first. */
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { Misbehave } from '../guests.ts';
import { trapInV8 } from '../v8-trap.ts';

const order = isMainThread ? process.argv[2] : (workerData as string);
if (order === 'v8-first') trapInV8();
const guest = new Misbehave();
guest.trap();
trapInV8();
const workers = isMainThread ? [1, 2].map(() => new Worker(new URL(import.meta.url), { workerData: order })) : [];
const ended = workers.map((worker) => new Promise((resolve, reject) => worker.on('exit', resolve).on('error', reject)));
for (let count = 0; count < 300; count++) {
  guest.trap();
  trapInV8();
  guest.trap('divide-by-zero', 'integer-division-by-zero');
  guest.trap('overflow-stack', 'stack-overflow');
}
await Promise.all(ended);
if (isMainThread) console.log('survived');
