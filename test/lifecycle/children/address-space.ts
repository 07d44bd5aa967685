/** Runs under an address-space limit: creating a pool fails with the setting to lower, and on-demand calls succeed. */
import { EngineInitError, WasmtimeRuntime } from '../../../src/index.ts';
import { Misbehave } from '../guests.ts';

try {
  new WasmtimeRuntime({ allocationStrategy: 'pooling' });
  console.log('the pool fits');
} catch (error) {
  const isExpected = error instanceof EngineInitError && /poolTotalMemories/.test(error.message);
  console.log(isExpected ? 'the pool names the setting to lower' : String(error));
}

const guest = new Misbehave();
for (let index = 0; index < 5_000; index++) {
  guest.call();
  // The pause lets the preparation thread allocate instances.
  if (index % 500 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
}
console.log('on-demand calls answer');
