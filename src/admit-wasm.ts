/** Admission without a slot, for tools. */
import { admit, admitAsync, type InspectedModule } from './admission/admit.ts';
import { hookFacts, type ModuleInspection } from './admission/inspect.ts';
import type { PluginMetadata } from './admission/metadata.ts';
import { reportAdmission, reportAdmissionAsync } from './diagnostics.ts';
import { coreOf, type WasmtimeRuntime } from './runtime.ts';
import type { HookKind } from './types.ts';

/** What `admitWasm` found: all that inspection knows, without problems, and the module's identity. */
export interface Admission extends ModuleInspection {
  readonly metadata: PluginMetadata;
  /** 64 lower-case hex digits over policy version, memory cap and bytes. */
  readonly contentHash: string;
}

/**
 * Admits `bytes` under the rules and the engine of `runtime` without registering them: inspected, compiled, probed.
 * Throws as `registerFilter` does.
 */
export function admitWasm(runtime: WasmtimeRuntime, bytes: Uint8Array, kind?: HookKind): Admission {
  const core = coreOf(runtime);
  core.dispatcher.checkOpen();
  return admissionOf(reportAdmission({ kind }, () => admit(core, bytes, kind)));
}

/** The same off this thread. Rejects as `admitWasm` throws. */
export async function admitWasmAsync(runtime: WasmtimeRuntime, bytes: Uint8Array, kind?: HookKind): Promise<Admission> {
  const core = coreOf(runtime);
  core.dispatcher.checkOpen();
  return admissionOf(await reportAdmissionAsync({ kind }, admitAsync(core, bytes, kind)));
}

function admissionOf({ facts, metadata, contentHash }: InspectedModule): Admission {
  return { facts, metadata, ...hookFacts(facts, metadata), problems: [], contentHash };
}
