/** A thread whose stack is too small for any guest: main | worker. It is told so, and a smaller guest fits. */
import { isMainThread, Worker } from 'node:worker_threads';
import { FilterError, StackExhaustedError } from '../../../src/index.ts';
import { Misbehave } from '../guests.ts';

if (isMainThread && process.argv[2] === 'worker') {
  new Worker(new URL(import.meta.url), { resourceLimits: { stackSizeMb: 1 } });
} else {
  try {
    const guest = new Misbehave();
    guest.call();
    console.log('answered');
  } catch (error) {
    const causes = [];
    for (let at: unknown = error; at instanceof Error; at = at.cause) causes.push(at);
    const told = causes.some((cause) => cause instanceof StackExhaustedError);
    console.log(told && !(error instanceof FilterError) ? 'refused when probing' : told ? 'refused' : String(error));
  }
  // What needs less fits.
  const guest = new Misbehave({ maxWasmStack: 128 * 1024 });
  guest.call();
  guest.trap('overflow-stack', 'stack-overflow');
  await guest.callElsewhere();
  console.log('a smaller guest answered');
}
