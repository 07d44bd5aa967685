import type { WasmtimeRuntimeError } from '../errors.ts';

/**
 * What happens to a request whose filter or shape failed. `pass-through` continues as if the plugin were absent;
 * `fail-closed` answers 503.
 */
export type PluginFailurePolicy = 'pass-through' | 'fail-closed';

/** The HTTP answer to a request that no upstream will see. */
export interface UnavailableResponse {
  /** Always 503. */
  readonly status: 503;
  /** Whole seconds for a Retry-After header; absent where waiting is not known to help. */
  readonly retryAfterSeconds?: number;
}

/** Saturation ends as soon as calls finish, and a second is the shortest wait that Retry-After can name. */
const RETRY_AFTER_SECONDS = 1;
const MAX_CAUSES = 16;

/**
 * Whether a failure policy may absorb the error: anything that the runtime reports about a plugin, by its code. A
 * caller's own mistake (InvalidArgument), a closed runtime and foreign errors are none of a policy's business.
 */
export function isPluginFailure(error: unknown): error is WasmtimeRuntimeError {
  const code = codeOf(error);
  return code?.startsWith('CC_LB_') === true && code !== 'CC_LB_INVALID_ARGUMENT' && code !== 'CC_LB_CLOSED';
}

/** The answer to a request that a failed plugin stops: 503, with Retry-After where the runtime was saturated. */
export function unavailableResponse(error?: unknown): UnavailableResponse {
  return isSaturation(error) ? { status: 503, retryAfterSeconds: RETRY_AFTER_SECONDS } : { status: 503 };
}

function isSaturation(error: unknown): boolean {
  let current = error;
  for (let depth = 0; depth < MAX_CAUSES && current instanceof Error; depth++) {
    if (codeOf(current) === 'CC_LB_POOL_SATURATED') return (current as { retryable?: unknown }).retryable !== false;
    current = current.cause;
  }
  return false;
}

function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code } = error as { code?: unknown };
  return typeof code === 'string' ? code : undefined;
}
