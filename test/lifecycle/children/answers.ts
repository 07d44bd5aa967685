/**
 * Terminates Workers while their calls have large answers. Prints the MiB of memory that the later Workers left, and the MiB of
 * the answers that none of them received.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { SlotKey, WasmtimeRuntime, WasmtimeUpstreamDialect } from '../../../src/index.ts';
import { caller, request, upstream } from '../../support/samples.ts';

const MIB = 1024 * 1024;
const BODY_MIB = 24;
/** After these Workers, the kept buffers of requests and the heaps of the C library no longer grow. */
const FIRST = 6;
const LATER = 10;

async function terminateWorkers(count: number): Promise<void> {
  for (let number = 0; number < count; number++) {
    const worker = new Worker(new URL(import.meta.url));
    worker.on('message', () => void worker.terminate());
    await new Promise((resolve, reject) => worker.on('error', reject).on('exit', resolve));
  }
  // Node releases the memory of a Worker shortly after its exit.
  await sleep(100);
}

if (isMainThread) {
  await terminateWorkers(FIRST);
  const before = process.memoryUsage.rss();
  await terminateWorkers(LATER);
  console.log(JSON.stringify({ left: (process.memoryUsage.rss() - before) / MIB, answers: LATER * BODY_MIB }));
} else {
  const runtime = new WasmtimeRuntime();
  const slot = runtime.registerShape(SlotKey.global('echo'), 'echo', readFileSync('test/plugins/wasm/echo.wasm'));
  const shape = new WasmtimeUpstreamDialect(runtime, slot);
  const ctx = request({ body: Buffer.alloc(BODY_MIB * MIB, 1) });
  shape.shapeAsync(ctx, upstream, caller(), { where: 'thread' }).catch(() => {});
  parentPort!.postMessage('in flight');
  // The event loop never receives the answer.
  for (;;);
}
