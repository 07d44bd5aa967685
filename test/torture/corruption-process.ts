/** Compiles a module that exceeds its memory beside an ordinary one, and prints how both ended. */
import { admitWasmAsync, ModuleCompileError, SlotKey, WasmtimeRuntime } from '../../src/index.ts';
import { plugin } from './guests.ts';
import { HOSTILE_MODULES } from './hostile-modules.ts';

const runtime = new WasmtimeRuntime({ maxCompileBytes: 64 * 2 ** 20 });
const hostile = admitWasmAsync(runtime, HOSTILE_MODULES['60,000 functions and a large one']!()).then(
  () => 'admitted',
  (error: unknown) => (error instanceof ModuleCompileError ? error.reason : String(error)),
);
const slot = await runtime.registerFilterAsync(SlotKey.global('ordinary'), 'ordinary', plugin('cache-aware'));
console.log(`${slot.current.metadata.name} admitted, the other refused for ${await hostile}`);
runtime.close();
