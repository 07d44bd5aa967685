/** Admission without a slot, for tools. */
import { accessOf } from './access.ts';
import { admit, admitAsync } from './admission/admit.ts';
import type { PluginMetadata } from './admission/metadata.ts';
import { reportAdmission, reportAdmissionAsync } from './diagnostics.ts';
import type { WasmtimeRuntime } from './runtime.ts';
import type { HookKind } from './types.ts';

/** What `admitWasm` found. */
export interface Admission {
  readonly metadata: PluginMetadata;
  readonly contentHash: string;
}

/**
 * Admits `bytes` under the rules and the engine of `runtime` without registering them: inspected, compiled, probed.
 * Throws as `registerFilter` does.
 */
export function admitWasm(runtime: WasmtimeRuntime, bytes: Uint8Array, kind?: HookKind): Admission {
  const access = accessOf(runtime);
  access.dispatcher.checkOpen();
  const { metadata, contentHash } = reportAdmission({ kind }, () => admit(access, bytes, kind));
  return { metadata, contentHash };
}

/** The same off this thread. Rejects as `admitWasm` throws. */
export async function admitWasmAsync(runtime: WasmtimeRuntime, bytes: Uint8Array, kind?: HookKind): Promise<Admission> {
  const access = accessOf(runtime);
  access.dispatcher.checkOpen();
  const { metadata, contentHash } = await reportAdmissionAsync({ kind }, admitAsync(access, bytes, kind));
  return { metadata, contentHash };
}
