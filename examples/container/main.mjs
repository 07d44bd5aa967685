// Shows that the engine has what it needs here: inspects a module, builds the engine that the config asks for, and says
// what it reserves.
import {
  EngineInitError,
  inspectWasm,
  productionHotEngineConfig,
  virtualMemoryReservationBytes,
  WasmtimeRuntime,
} from 'cc-lb-runtime-wasmtime';

const EMPTY_MODULE = new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
console.log(`an empty module has ${inspectWasm(EMPTY_MODULE).problems.length} problems, as it should`);

const config = productionHotEngineConfig();
const reserved = Math.round(virtualMemoryReservationBytes(config) / 2 ** 20);
try {
  const runtime = new WasmtimeRuntime(config);
  console.log(`the recommended engine runs; it reserves ${reserved} MiB of address space in advance`);
  const { ok, problems } = runtime.health();
  if (!ok) throw new Error(problems.join('; '));
  runtime.close();
} catch (error) {
  if (!(error instanceof EngineInitError)) throw error;
  console.error(`the recommended engine does not fit here: ${error.message}`);
  process.exitCode = 1;
}
