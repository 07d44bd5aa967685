import type { HotEngineConfig } from '../config.ts';
import type { WasmtimeRuntimeError } from '../errors.ts';

/**
 * What happens to a request whose filter or shape failed. `pass-through` continues as if the plugin were absent;
 * `fail-closed` answers 503.
 */
export type PluginFailurePolicy = HotEngineConfig['pluginFailurePolicy'];

/**
 * Whether a failure policy applies to the error. It applies to every error of the runtime about a plugin, by its code,
 * and not to invalid arguments, a closed runtime or errors of other code.
 */
export function isPluginFailure(error: unknown): error is WasmtimeRuntimeError {
  const code = codeOf(error);
  return code?.startsWith('CC_LB_') === true && code !== 'CC_LB_INVALID_ARGUMENT' && code !== 'CC_LB_CLOSED';
}

/** Returns the code of an error; undefined without one. */
export function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code } = error as { code?: unknown };
  return typeof code === 'string' ? code : undefined;
}
