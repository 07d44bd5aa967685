/** Run in the root of the repository. Prints the page faults of a call whose answer has a body of 64 KiB. */
import { readFileSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { SlotKey, WasmtimeRuntime, WasmtimeUpstreamDialect } from '../../../src/index.ts';
import { caller, request, upstream } from '../../support/samples.ts';

const CALLS = 3_000;
const runtime = new WasmtimeRuntime();
const shape = new WasmtimeUpstreamDialect(
  runtime,
  runtime.registerShape(SlotKey.global('s'), 'echo', readFileSync('test/plugins/wasm/echo.wasm')),
);
const ctx = request({ body: Buffer.alloc(65_536, 1) });

async function faults(): Promise<number> {
  const before = process.resourceUsage().minorPageFault;
  for (let call = 0; call < CALLS; call++) {
    shape.shape(ctx, upstream, caller());
    // What the collector freed is finalized in the next turn.
    if (call % 50 === 0) await nextTurn();
  }
  return (process.resourceUsage().minorPageFault - before) / CALLS;
}

await faults();
console.log(await faults());
runtime.close();
