/** Ends while a module compiles that takes minutes: exit | worker-exit. And has half a second for worker-terminate. */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { HOSTILE_MODULES } from '../../../scripts/torture/hostile-modules.ts';
import { admitWasmAsync, WasmtimeRuntime } from '../../../src/index.ts';

const how = isMainThread ? process.argv[2]! : (workerData as string);

function compile(): void {
  const runtime = new WasmtimeRuntime({ compileTimeoutMs: how === 'worker-terminate' ? 500 : 600_000 });
  admitWasmAsync(runtime, HOSTILE_MODULES['loops nested 50,000 deep']!()).catch(() => {});
}

if (!isMainThread) {
  compile();
  setTimeout(() => {
    parentPort!.postMessage('compiling');
    if (how === 'worker-exit') process.exit(0);
  }, 200);
} else if (how === 'exit') {
  compile();
  setTimeout(() => process.exit(7), 200);
} else {
  const worker = new Worker(new URL(import.meta.url), { workerData: how });
  worker.on('message', () => {
    if (how === 'worker-terminate') void worker.terminate();
  });
  await new Promise((resolve) => worker.on('exit', resolve));
  console.log('went on');
  // What nobody waits for any more still compiles, and does not keep the process.
}
