/** How a module is refused. */
import { expect } from 'vitest';
import { admitWasm, admitWasmAsync, type HotEngineConfigInput, WasmtimeRuntimeError } from '../../src/index.ts';
import { rejected, thrown } from './errors.ts';
import { newRuntime } from './runtimes.ts';

/** The error that a module is refused with. Fails unless it is the same on this thread and off it. */
export async function refusal(bytes: Uint8Array, config?: HotEngineConfigInput): Promise<WasmtimeRuntimeError> {
  const runtime = newRuntime(config);
  const sync = thrown(WasmtimeRuntimeError, () => admitWasm(runtime, bytes));
  const async = await rejected(WasmtimeRuntimeError, admitWasmAsync(runtime, bytes));
  expect([async.constructor, async.message, async.hook]).toEqual([sync.constructor, sync.message, sync.hook]);
  return sync;
}
