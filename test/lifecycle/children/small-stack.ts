/** Runs on a thread whose stack is too small for the default guest and large enough for a smaller one: main | worker. */
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
    const isRefused = causes.some((cause) => cause instanceof StackExhaustedError);
    console.log(
      isRefused && !(error instanceof FilterError) ? 'refused when probing' : isRefused ? 'refused' : String(error),
    );
  }
  // A guest with a smaller stack limit fits.
  const guest = new Misbehave({ maxWasmStack: 128 * 1024 });
  guest.call();
  guest.trap('overflow-stack', 'stack-overflow');
  await guest.callOffThread();
  console.log('a smaller guest answered');
}
