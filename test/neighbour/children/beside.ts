/**
 * The neighbour beside the runtime: <first | last | alone | absent> <here | thread | illegal | abort | none>. First and
 * last say when the neighbour installs its handlers; alone is without the runtime; absent installs none.
 */
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { trapInV8 } from '../../lifecycle/v8-trap.ts';

interface Neighbour {
  install(): void;
  seen(): number;
  hammer(threads: number): void;
  rest(): void;
  crash(where: string): void;
}

const path = resolve('test/neighbour/build/Release/neighbour.node');
const [order, crash] = (isMainThread ? process.argv.slice(2) : workerData) as [string, string];
const neighbour = createRequire(import.meta.url)(path) as Neighbour;
trapInV8();
if (isMainThread && order !== 'last' && order !== 'absent') neighbour.install();

if (order !== 'alone') {
  const { Misbehave } = await import('../../lifecycle/guests.ts');
  const guest = new Misbehave({ allocationStrategy: 'pooling', poolTotalMemories: 8 });
  guest.trap();
  if (isMainThread && order === 'last') neighbour.install();
  const workers = isMainThread ? [1, 2].map(() => new Worker(new URL(import.meta.url), { workerData: [order] })) : [];
  const ended = workers.map((worker) => new Promise((done, fail) => worker.on('exit', done).on('error', fail)));
  if (isMainThread) neighbour.hammer(2);
  const before = neighbour.seen();
  for (let count = 0; count < 200; count++) {
    guest.call();
    guest.trap();
    trapInV8();
    guest.trap('divide-by-zero', 'integer-division-by-zero');
    guest.trap('unreachable', 'unreachable-code-reached');
    guest.trap('overflow-stack', 'stack-overflow');
    await guest.callElsewhere('read-outside').catch(() => {});
  }
  await Promise.all(ended);
  if (isMainThread) {
    neighbour.rest();
    const ok = guest.runtime.health().ok;
    console.log(JSON.stringify({ seen: neighbour.seen() > before, ok }));
  }
}
if (isMainThread && crash !== 'none') neighbour.crash(crash);
