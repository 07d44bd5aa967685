/** One call of a plugin on an engine of its own that records the stack of wasm functions, for whoever wrote the plugin. */
import { prepare } from './cli/requests.ts';
import type { HotEngineConfigInput } from './config.ts';
import { GuestTrapError, type WasmFrame, WasmtimeRuntimeError } from './errors.ts';
import { WasmtimeRuntime } from './runtime.ts';
import type { HookKind } from './types.ts';

/** The outcome of an explained call. */
export interface Explanation {
  /** What the hook answered, decoded; null for a failed call, and undefined for an event that was observed. */
  readonly output: unknown;
  /** Why the call failed; null for an answered one. */
  readonly error: WasmtimeRuntimeError | null;
  /** Of a guest that trapped or outlived its deadline; null for other failures. */
  readonly trap: {
    /** `instantiate`, `cc_lb_alloc`, `memory.write` or the export's name. */
    readonly phase: string;
    /** The trap's name in kebab-case. */
    readonly trap: string;
    /** The wasm functions that were active, innermost first. Names come from the module and may hold any characters. */
    readonly frames: readonly WasmFrame[];
  } | null;
}

/** Options of `explain`. */
export interface ExplainOptions {
  /** The config of the runtime that the plugin failed in. */
  readonly config?: HotEngineConfigInput | undefined;
  /** Milliseconds for the call; absent is the config's. */
  readonly deadlineMs?: number | undefined;
}

/**
 * Calls a hook of `bytes` once, outside of any serving runtime, and reports how it failed. `request` has the form of a sample of
 * `cc-lb-plugin call --print-sample`, with bytes or text as body. Rejects where the plugin is not admitted, and with
 * InvalidArgument for a bad request.
 */
export async function explain(
  bytes: Uint8Array,
  hook: HookKind,
  request: object,
  { config, deadlineMs }: ExplainOptions = {},
): Promise<Explanation> {
  const runtime = new WasmtimeRuntime(config, { engineGroup: 'explain', explain: true });
  try {
    const call = prepare(runtime, bytes, hook, request);
    return { output: await call.anywhere({ deadlineMs, where: 'thread' }), error: null, trap: null };
  } catch (error) {
    if (!(error instanceof WasmtimeRuntimeError) || error.hook === undefined) throw error;
    return { output: null, error, trap: trapOf(error) };
  } finally {
    runtime.close();
  }
}

function trapOf(error: WasmtimeRuntimeError): Explanation['trap'] {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    if (!(cause instanceof GuestTrapError)) continue;
    const { phase, trap, frames } = cause;
    return { phase, trap, frames };
  }
  return null;
}
