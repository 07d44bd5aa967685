/** Admits while the process can have no descriptor or no process more: descriptors | processes. */
import { closeSync, openSync } from 'node:fs';
import { admitWasm, CompileProcessError, WasmtimeRuntime } from '../../../src/index.ts';
import { guest } from '../../support/guest.ts';
import { unique } from '../../support/unique.ts';

const runtime = new WasmtimeRuntime({ compileSpareMs: 0 });

function refusal(): CompileProcessError | undefined {
  try {
    admitWasm(runtime, unique(guest()));
    return undefined;
  } catch (error) {
    if (error instanceof CompileProcessError) return error;
    throw error;
  }
}

if (process.argv[2] === 'descriptors') {
  console.log(refusal()?.message ?? 'admitted');
  const opened: number[] = [];
  try {
    for (;;) opened.push(openSync('/dev/null', 'r'));
  } catch {
    // The limit is reached.
  }
  const refused = refusal();
  for (const descriptor of opened) closeSync(descriptor);
  console.log(refused?.retryable === true ? 'rejected, retryable' : `not refused so: ${refused}`);
  console.log(refusal()?.message ?? 'admitted');
} else {
  const refused = refusal();
  console.log(refused?.retryable === true ? 'rejected, retryable' : `not refused so: ${refused}`);
}
runtime.close();
