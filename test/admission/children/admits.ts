/**
 * Admits plugins with the settings of its first argument, and prints the counts of the directory of compiled modules.
 * The second argument: in-worker | without-cwd.
 */
import { rmdirSync } from 'node:fs';
import { isMainThread, Worker } from 'node:worker_threads';
import { admitWasm, admitWasmAsync, WasmtimeRuntime } from '../../../src/index.ts';
import { guest } from '../../support/guest.ts';

const PLUGINS = 4;
const [settings = '', how] = process.argv.slice(2);

if (isMainThread && how === 'in-worker') new Worker(new URL(import.meta.url), { argv: [settings] });
else await admit();

async function admit(): Promise<void> {
  if (how === 'without-cwd') rmdirSync(process.cwd());
  const runtime = new WasmtimeRuntime(JSON.parse(settings));
  for (let number = 0; number < PLUGINS; number++) {
    const bytes = guest({ fields: `(global i32 (i32.const ${number}))` });
    if (number % 2 === 0) admitWasm(runtime, bytes);
    else await admitWasmAsync(runtime, bytes);
  }
  console.log(JSON.stringify(runtime.stats().compileCache));
  runtime.close();
}
