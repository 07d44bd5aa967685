/** Starts and ends Workers that load the addon, which the main thread does not load; then V8's own wasm traps here. */
import { isMainThread, Worker } from 'node:worker_threads';
import { trapInV8 } from '../v8-trap.ts';

if (isMainThread) {
  if (process.argv[2] === 'v8-first') trapInV8();
  for (let count = 0; count < 3; count++) {
    const worker = new Worker(new URL('./worker-alone-worker.js', import.meta.url));
    await new Promise((resolve, reject) => worker.on('exit', resolve).on('error', reject));
    for (let trap = 0; trap < 100; trap++) trapInV8();
  }
  console.log('survived');
}
