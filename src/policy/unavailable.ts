/** Requests that plugins stop: the outcome and its HTTP response. */
import { InvalidArgumentError, type WasmtimeRuntimeError } from '../errors.ts';
import { codeOf, isPluginFailure } from './failure.ts';

/** Saturation ends when calls finish, and one second is the minimum of Retry-After. */
const RETRY_AFTER_SECONDS = 1;
const MAX_CAUSES = 16;

/** The request is not sent to an upstream. */
export interface Unavailable {
  /** Distinguishes the outcome. */
  readonly kind: 'unavailable';
  /** `route_no_upstream_after_filter`: the filters kept no upstream. `plugin_failed`: a fail-closed plugin failed. */
  readonly code: 'route_no_upstream_after_filter' | 'plugin_failed';
  /** Always 503. */
  readonly status: 503;
  /** Seconds for a Retry-After header; absent when waiting is not known to help. */
  readonly retryAfterSeconds?: number;
  /** The plugin's failure; absent if the filters kept no upstream. */
  readonly error?: WasmtimeRuntimeError;
}

/** The complete HTTP response to a request that is not sent to an upstream. */
export interface UnavailableHttpResponse {
  /** The status code, 503. */
  status: number;
  /** `content-type`, and `retry-after` in seconds if waiting helps. */
  headers: Record<string, string>;
  /** JSON. */
  body: string;
}

/**
 * Returns the HTTP response to a request that is not sent to an upstream, with a body in the form of the Anthropic API.
 * @throws InvalidArgumentError for any other outcome
 *
 * @example
 * ```js
 * import { outcomeToHttp } from 'cc-lb-runtime-wasmtime';
 *
 * const outcome = { kind: 'unavailable', code: 'plugin_failed', status: 503, retryAfterSeconds: 1 };
 * const { status, headers } = outcomeToHttp(outcome);
 * console.log(status, headers['retry-after']); // → 503 1
 * ```
 */
export function outcomeToHttp(outcome: Unavailable): UnavailableHttpResponse {
  if (outcome?.kind !== 'unavailable') throw new InvalidArgumentError('outcome', "expected one of kind 'unavailable'");
  const headers: Record<string, string> = { 'content-type': 'application/json' };
  if (outcome.retryAfterSeconds !== undefined) headers['retry-after'] = String(outcome.retryAfterSeconds);
  const message =
    outcome.code === 'route_no_upstream_after_filter' ? 'no upstream is left for this request' : 'a plugin failed';
  const body = JSON.stringify({ type: 'error', error: { type: 'api_error', code: outcome.code, message } });
  return { status: outcome.status, headers, body };
}

/** Returns the outcome of filters that kept no candidate. */
export function noUpstreamLeft(): Unavailable {
  return { kind: 'unavailable', code: 'route_no_upstream_after_filter', status: 503 };
}

/**
 * Returns the outcome of a plugin's failure under `fail-closed`, with the time to wait if the runtime was saturated or
 * the plugin's breaker is open.
 */
export function pluginFailed(error: WasmtimeRuntimeError): Unavailable {
  const outcome = { kind: 'unavailable', code: 'plugin_failed', status: 503, error } as const;
  const retryAfterSeconds = retryAfter(error);
  return retryAfterSeconds === undefined ? outcome : { ...outcome, retryAfterSeconds };
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

/** Returns the error if a failure policy applies to it, and rethrows any other error. */
export function pluginFailureOrThrow(error: unknown): WasmtimeRuntimeError {
  if (!isPluginFailure(error)) throw error;
  return error;
}
