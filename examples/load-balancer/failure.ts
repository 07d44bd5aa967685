/** The response to a failure, without text of a plugin or an upstream. */
import { ClosedError, PoolSaturatedError } from 'cc-lb-runtime-wasmtime';
import { Refusal } from './refusal.ts';

const TIMED_OUT = new Set(['UND_ERR_CONNECT_TIMEOUT', 'UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT']);

/** The refusal while the breaker of every upstream is open. */
export function noneAvailable(): Refusal {
  return new Refusal(503, 'overloaded_error', 'no upstream is available', 1);
}

/** The refusal for anything that a request failed with. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  if (error instanceof ClosedError) return new Refusal(503, 'api_error', 'shutting down');
  if (error instanceof PoolSaturatedError) return new Refusal(503, 'overloaded_error', 'too many plugin calls', 1);
  if (TIMED_OUT.has(codeOf(error))) return new Refusal(504, 'api_error', 'the upstream did not answer in time');
  return new Refusal(502, 'api_error', 'the upstream did not answer');
}

/** The `code` of an error; empty where it has none. */
export function codeOf(error: unknown): string {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === 'string' ? code : '';
}
