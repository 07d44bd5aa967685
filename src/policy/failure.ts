import type { HotEngineConfig } from '../config.ts';
import type { WasmtimeRuntimeError } from '../errors.ts';

/**
 * What happens to a request whose filter or shape failed. `pass-through` continues as if the plugin were absent;
 * `fail-closed` answers 503.
 */
export type PluginFailurePolicy = HotEngineConfig['pluginFailurePolicy'];

/** The HTTP response to a request that is not sent to an upstream. */
export interface UnavailableResponse {
  /** Always 503. */
  readonly status: 503;
  /** Seconds for a Retry-After header; absent when waiting is not known to help. */
  readonly retryAfterSeconds?: number;
}

/** Saturation ends when calls finish, and one second is the minimum of Retry-After. */
const RETRY_AFTER_SECONDS = 1;
const MAX_CAUSES = 16;

/**
 * Whether a failure policy applies to the error. It applies to every error of the runtime about a plugin, by its code,
 * and not to invalid arguments, a closed runtime or errors of other code.
 */
export function isPluginFailure(error: unknown): error is WasmtimeRuntimeError {
  const code = codeOf(error);
  return code?.startsWith('CC_LB_') === true && code !== 'CC_LB_INVALID_ARGUMENT' && code !== 'CC_LB_CLOSED';
}

/**
 * Returns the response to a request that a failed plugin stops: 503, with Retry-After if the runtime was saturated or
 * the plugin's breaker is open.
 */
export function unavailableResponse(error?: unknown): UnavailableResponse {
  const retryAfterSeconds = retryAfter(error);
  return retryAfterSeconds === undefined ? { status: 503 } : { status: 503, retryAfterSeconds };
}

function retryAfter(error: unknown): number | undefined {
  let current = error;
  for (let depth = 0; depth < MAX_CAUSES && current instanceof Error; depth++) {
    const code = codeOf(current);
    const { retryable, retryAfterMs } = current as { retryable?: unknown; retryAfterMs?: unknown };
    if (code === 'CC_LB_POOL_SATURATED') return retryable === false ? undefined : RETRY_AFTER_SECONDS;
    if (code === 'CC_LB_BREAKER_OPEN' && typeof retryAfterMs === 'number') {
      return Math.max(RETRY_AFTER_SECONDS, Math.ceil(retryAfterMs / 1_000));
    }
    current = current.cause;
  }
  return undefined;
}

function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code } = error as { code?: unknown };
  return typeof code === 'string' ? code : undefined;
}
