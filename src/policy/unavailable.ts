/** Requests that plugins stop: the outcome and its HTTP response. */
import { InvalidArgumentError, type WasmtimeRuntimeError } from '../errors.ts';
import { isPluginFailure, type UnavailableResponse, unavailableResponse } from './failure.ts';

/** The request is not sent to an upstream. */
export interface Unavailable extends UnavailableResponse {
  /** Distinguishes the outcome. */
  readonly kind: 'unavailable';
  /** `route_no_upstream_after_filter`: the filters kept no upstream. `plugin_failed`: a fail-closed plugin failed. */
  readonly code: 'route_no_upstream_after_filter' | 'plugin_failed';
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

/** Returns the outcome of a plugin's failure under `fail-closed`. */
export function pluginFailed(error: WasmtimeRuntimeError): Unavailable {
  return { kind: 'unavailable', code: 'plugin_failed', ...unavailableResponse(error), error };
}

/** Returns the error if a failure policy applies to it, and rethrows any other error. */
export function pluginFailureOrThrow(error: unknown): WasmtimeRuntimeError {
  if (!isPluginFailure(error)) throw error;
  return error;
}
