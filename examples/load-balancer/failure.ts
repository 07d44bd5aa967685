/** The response to a failure, without text of a plugin or an upstream. */
import { ClosedError, PoolSaturatedError } from 'cc-lb-runtime-wasmtime';
import { Refusal } from './refusal.ts';

const UNSENDABLE_REFUSAL = new Refusal(500, 'api_error', 'the request cannot be sent');
const TIMED_OUT = new Set(['UND_ERR_CONNECT_TIMEOUT', 'UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT']);

/**
 * Errors of undici that say nothing about the upstream: the request cannot be sent at all, or its connections are
 * closed by this load balancer.
 */
const UNSENDABLE = new Set([
  ...['UND_ERR_INVALID_ARG', 'UND_ERR_NOT_SUPPORTED', 'UND_ERR_REQ_CONTENT_LENGTH_MISMATCH'],
  ...['UND_ERR_CLOSED', 'UND_ERR_DESTROYED'],
]);

/** Whether a request failed for a reason that is not its upstream's. */
export function isUnsendable(error: unknown): boolean {
  return UNSENDABLE.has(codeOf(error));
}

/** The refusal while the breaker of every upstream is open or all its connections are in use. */
export function noneAvailable(): Refusal {
  return new Refusal(503, 'overloaded_error', 'no upstream is available', 1);
}

/** The refusal for anything that a request failed with. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  if (error instanceof ClosedError) return new Refusal(503, 'api_error', 'shutting down');
  if (error instanceof PoolSaturatedError) return new Refusal(503, 'overloaded_error', 'too many plugin calls', 1);
  if (isUnsendable(error)) return UNSENDABLE_REFUSAL;
  if (TIMED_OUT.has(codeOf(error))) return new Refusal(504, 'api_error', 'the upstream did not answer in time');
  return new Refusal(502, 'api_error', 'the upstream did not answer');
}

/** The `code` of an error; empty where it has none. */
export function codeOf(error: unknown): string {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === 'string' ? code : '';
}
