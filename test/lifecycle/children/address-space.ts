/** A process under a limit of its address space: a pool is told what to lower, calls on demand do with what there is. */
import { EngineInitError, WasmtimeRuntime } from '../../../src/index.ts';
import { Misbehave } from '../guests.ts';

try {
  new WasmtimeRuntime({ allocationStrategy: 'pooling' });
  console.log('a pool fits');
} catch (error) {
  const told = error instanceof EngineInitError && /poolTotalMemories/.test(error.message);
  console.log(told ? 'a pool is told what to lower' : String(error));
}

const guest = new Misbehave();
for (let index = 0; index < 5_000; index++) {
  guest.call();
  // The thread that prepares instances takes what it gets meanwhile.
  if (index % 500 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
}
console.log('calls on demand answer');
