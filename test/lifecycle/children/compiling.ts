/** Ends the process or a Worker during a compilation of several minutes: exit | worker-exit | worker-terminate. */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { admitWasmAsync, WasmtimeRuntime } from '../../../src/index.ts';
import { childrenUntil } from '../../support/children.ts';
import { HOSTILE_MODULES } from '../../torture/hostile-modules.ts';

const how = isMainThread ? process.argv[2]! : (workerData as string);

function compile(): void {
  const runtime = new WasmtimeRuntime({ compileTimeoutMs: 600_000, compileSpareMs: 0 });
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
  // The compile process is killed before its time limit.
  if (process.platform === 'linux') await childrenUntil((count) => count === 0);
  console.log('continued');
}
