// Runs with limited address space: a default pool fails with the setting to lower; a small pool and the default engine work.
import assert from 'node:assert/strict';
import * as runtime from 'cc-lb-runtime-wasmtime';
import { use } from './use.cjs';

const pooling = { allocationStrategy: 'pooling' };
assert.throws(() => new runtime.WasmtimeRuntime(pooling), {
  code: 'CC_LB_ENGINE_INIT',
  message: /lower poolTotalMemories or memoryReservationBytes.*ulimit -v/,
});
use(runtime, { ...pooling, poolTotalMemories: 4, poolTotalCoreInstances: 4 });
use(runtime);
console.log('ok');
