/** Requests that the plugins stop: the outcome and its HTTP answer. */
import { InvalidArgumentError, type WasmtimeRuntimeError } from '../errors.ts';
import { isPluginFailure, type UnavailableResponse, unavailableResponse } from './failure.ts';

/** No upstream will see the request. */
export interface Unavailable extends UnavailableResponse {
  /** Distinguishes the outcome. */
  readonly kind: 'unavailable';
  /** `route_no_upstream_after_filter` is the filters' decision, `plugin_failed` what a failure policy makes of one. */
  readonly code: 'route_no_upstream_after_filter' | 'plugin_failed';
  /** The plugin's failure; absent where the filters decided. */
  readonly error?: WasmtimeRuntimeError;
}

/**
 * The HTTP answer to a request that no upstream will see, its body in the form of the Anthropic API.
 * @throws InvalidArgumentError for any other outcome
 */
export function outcomeToHttp(outcome: Unavailable): {
  status: number;
  headers: Record<string, string>;
  body: string;
} {
  if (outcome?.kind !== 'unavailable') throw new InvalidArgumentError('outcome', "expected one of kind 'unavailable'");
  const headers: Record<string, string> = { 'content-type': 'application/json' };
  if (outcome.retryAfterSeconds !== undefined) headers['retry-after'] = String(outcome.retryAfterSeconds);
  const message =
    outcome.code === 'route_no_upstream_after_filter' ? 'no upstream is left for this request' : 'a plugin failed';
  const body = JSON.stringify({ type: 'error', error: { type: 'api_error', code: outcome.code, message } });
  return { status: outcome.status, headers, body };
}

/** The outcome that `fail-closed` makes of a plugin's failure. */
export function pluginFailed(error: WasmtimeRuntimeError): Unavailable {
  return { kind: 'unavailable', code: 'plugin_failed', ...unavailableResponse(error), error };
}

/** The error where a failure policy may absorb it; anything else is thrown on. */
export function pluginFailureOrThrow(error: unknown): WasmtimeRuntimeError {
  if (!isPluginFailure(error)) throw error;
  return error;
}
