/** One call of a plugin on a separate engine that records the stack of wasm functions, for the plugin's author. */
import type { HotEngineConfigInput } from './config.ts';
import { GuestTrapError, type WasmFrame, WasmtimeRuntimeError } from './errors.ts';
import { hookRequest } from './hook-request.ts';
import { WasmtimeRuntime } from './runtime.ts';
import type { HookKind } from './types.ts';

/** The outcome of an explained call. */
export interface Explanation {
  /** The decoded answer of the hook; null for a failed call, and undefined for an observed event. */
  readonly output: unknown;
  /** The error of a failed call; null for an answered one. */
  readonly error: WasmtimeRuntimeError | null;
  /** The trap of a guest that trapped or exceeded its deadline; null for other failures. */
  readonly trap: {
    /** `instantiate`, `cc_lb_alloc`, `memory.write`, or the name of the export. */
    readonly phase: string;
    /** The name of the trap in kebab case. */
    readonly trap: string;
    /**
     * The wasm functions that were active, innermost first. Names come from the module and may contain any characters.
     */
    readonly frames: readonly WasmFrame[];
  } | null;
}

/** Options of `explain`. */
export interface ExplainOptions {
  /** The config of the runtime in which the plugin failed. */
  readonly config?: HotEngineConfigInput | undefined;
  /** Milliseconds for the call. The default is that of the config. */
  readonly deadlineMs?: number | undefined;
}

/**
 * Calls a hook of `bytes` once, outside any serving runtime and off this thread, and reports how it failed. `request`
 * has the form that `cc-lb-plugin call --print-sample` prints, with bytes or text as the body. A sample of admission that
 * fails is reported like the call. Rejects if the module is rejected or does not compile, and with InvalidArgument for
 * an invalid request.
 *
 * @example
 * ```js
 * import { readFileSync } from 'node:fs';
 * import { explain } from 'cc-lb-runtime-wasmtime';
 *
 * const bytes = readFileSync(new URL(import.meta.resolve('cc-lb-runtime-wasmtime/plugins/misbehave.wasm')));
 * const request = {
 *   context: { requestId: 'req-1', method: 'POST', path: '/', headers: [], body: '{}' },
 *   principal: { id: 'team-a', kind: 'api_key', claims: { do: 'loop' } },
 *   candidates: [],
 * };
 * const { trap } = await explain(bytes, 'filter', request, { deadlineMs: 50 });
 * console.log(trap.phase, trap.trap); // → cc_lb_filter interrupt
 * ```
 */
export async function explain(
  bytes: Uint8Array,
  hook: HookKind,
  request: object,
  { config, deadlineMs }: ExplainOptions = {},
): Promise<Explanation> {
  const runtime = new WasmtimeRuntime(config, { engineGroup: 'explain', explain: true });
  try {
    const call = await hookRequest(runtime, bytes, hook, request);
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
