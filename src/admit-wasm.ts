/** Admission without registration, for tools. */
import { admit, admitAsync, type InspectedModule } from './admission/admit.ts';
import { hookFacts, type ModuleInspection } from './admission/inspect.ts';
import type { PluginMetadata } from './admission/metadata.ts';
import { reportAdmission, reportAdmissionAsync } from './diagnostics.ts';
import type { NativeModule } from './native/addon.ts';
import { coreOf, type WasmtimeRuntime } from './runtime.ts';
import type { HookKind } from './types.ts';

/**
 * An admitted module: its inspection without problems, and its content hash. While this object is reachable, a registration
 * of the same content neither compiles nor probes it.
 */
export interface Admission extends ModuleInspection {
  /** The metadata that the plugin declares. */
  readonly metadata: PluginMetadata;
  /** 64 lower-case hex digits over policy version, memory cap and bytes. */
  readonly contentHash: string;
}

/**
 * Admits `bytes` under the rules and the engine of `runtime` without registering them: inspected, compiled, probed.
 * Throws as `registerFilter` does.
 *
 * @example
 * ```js
 * import { readFileSync } from 'node:fs';
 * import { admitWasm, WasmtimeRuntime } from 'cc-lb-runtime-wasmtime';
 *
 * const bytes = readFileSync(new URL(import.meta.resolve('cc-lb-runtime-wasmtime/plugins/cache-aware.wasm')));
 * const admission = admitWasm(new WasmtimeRuntime(), bytes, 'filter');
 * console.log(admission.metadata.version, admission.contentHash.length); // → 1.0.0 64
 * ```
 */
export function admitWasm(runtime: WasmtimeRuntime, bytes: Uint8Array, kind?: HookKind): Admission {
  const core = coreOf(runtime);
  core.dispatcher.checkOpen();
  return admissionOf(reportAdmission({ kind }, () => admit(core, bytes, { kind })));
}

/** The asynchronous form of `admitWasm`. Rejects as `admitWasm` throws. */
export async function admitWasmAsync(runtime: WasmtimeRuntime, bytes: Uint8Array, kind?: HookKind): Promise<Admission> {
  const core = coreOf(runtime);
  core.dispatcher.checkOpen();
  return admissionOf(await reportAdmissionAsync({ kind }, admitAsync(core, bytes, { kind })));
}

/** The compiled modules of admissions that are reachable. */
const modules = new WeakMap<Admission, NativeModule>();

function admissionOf({ facts, metadata, contentHash, module }: InspectedModule): Admission {
  const admission = { facts, metadata, ...hookFacts(facts, metadata), problems: [], contentHash };
  modules.set(admission, module);
  return admission;
}
