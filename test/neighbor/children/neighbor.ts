/**
 * Runs another addon together with the runtime: <first | last | alone | absent> <here | thread | illegal | abort | none>.
 * `first` and `last`: the addon installs its handlers before or after the runtime does. `alone`: the runtime is not
 * loaded. `absent`: the addon installs no handlers.
 */
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { trapInV8 } from '../../lifecycle/v8-trap.ts';

interface Neighbor {
  install(): void;
  seen(): number;
  hammer(threads: number): void;
  rest(): void;
  crash(where: string): void;
}

const path = resolve('test/neighbor/build/Release/neighbor.node');
const [order, crash] = (isMainThread ? process.argv.slice(2) : workerData) as [string, string];
const neighbor = createRequire(import.meta.url)(path) as Neighbor;
trapInV8();
if (isMainThread && order !== 'last' && order !== 'absent') neighbor.install();

if (order !== 'alone') {
  const { Misbehave } = await import('../../lifecycle/guests.ts');
  const guest = new Misbehave({ allocationStrategy: 'pooling', poolTotalMemories: 8 });
  guest.trap();
  if (isMainThread && order === 'last') neighbor.install();
  const workers = isMainThread ? [1, 2].map(() => new Worker(new URL(import.meta.url), { workerData: [order] })) : [];
  const ended = workers.map((worker) => new Promise((done, fail) => worker.on('exit', done).on('error', fail)));
  if (isMainThread) neighbor.hammer(2);
  const before = neighbor.seen();
  for (let count = 0; count < 200; count++) {
    guest.call();
    guest.trap();
    trapInV8();
    guest.trap('divide-by-zero', 'integer-division-by-zero');
    guest.trap('unreachable', 'unreachable-code-reached');
    guest.trap('overflow-stack', 'stack-overflow');
    await guest.callOffThread('read-outside').catch(() => {});
  }
  await Promise.all(ended);
  if (isMainThread) {
    neighbor.rest();
    const ok = guest.runtime.health().ok;
    console.log(JSON.stringify({ seen: neighbor.seen() > before, ok }));
  }
}
if (isMainThread && crash !== 'none') neighbor.crash(crash);
