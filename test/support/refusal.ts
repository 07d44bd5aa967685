/** Returns the error that admission rejects a module with. */
import { expect } from 'vitest';
import { admitWasm, admitWasmAsync, type HotEngineConfigInput, WasmtimeRuntimeError } from '../../src/index.ts';
import { rejected, thrown } from './errors.ts';
import { newRuntime } from './runtimes.ts';

/** Returns the error that `bytes` is rejected with. Fails unless the synchronous and the asynchronous form agree. */
export async function refusal(bytes: Uint8Array, config?: HotEngineConfigInput): Promise<WasmtimeRuntimeError> {
  const runtime = newRuntime(config);
  const sync = thrown(WasmtimeRuntimeError, () => admitWasm(runtime, bytes));
  const async = await rejected(WasmtimeRuntimeError, admitWasmAsync(runtime, bytes));
  expect([async.constructor, async.message, async.hook]).toEqual([sync.constructor, sync.message, sync.hook]);
  return sync;
}
