/** The error of an adapter for a failed call. */
import type { HookCall } from '../dispatch/hook-call.ts';
import { ClosedError, type ErrorContext, InvalidArgumentError, WasmtimeRuntimeError } from '../errors.ts';
import { InvalidAnswerError } from '../policy/invalid-answer.ts';
import type { HookKind } from '../types.ts';
import { WireError } from '../wire/decode.ts';

/** A failure of a plugin: an error of the runtime, an answer that does not decode, or an answer that breaks a rule. */
export type PluginFault = WasmtimeRuntimeError | WireError | InvalidAnswerError;
/** Creates the adapter's error for a failure. */
export type WrapError = (fault: PluginFault, context: ErrorContext) => Error;

/**
 * Returns the error to throw for an error of a call: the adapter's error for a failure of the plugin, else the error
 * itself. `call` is undefined if the slot does not exist.
 */
export function toHookError(
  error: unknown,
  hook: HookKind,
  wrapError: WrapError,
  call: HookCall<unknown> | undefined,
): unknown {
  if (!isPluginFault(error)) return error;
  if (!(error instanceof WasmtimeRuntimeError)) return wrapError(error, { ...call?.context(), hook, cause: error });
  const { plugin, principal, versionId } = error;
  return wrapError(error, { plugin, principal, versionId, hook, cause: error });
}

/**
 * Whether an error of a call is a failure of the plugin, which the adapter's error class reports. Invalid arguments and
 * a closed runtime are not, and an aborted call rejects with the signal's reason.
 */
function isPluginFault(error: unknown): error is PluginFault {
  if (error instanceof InvalidArgumentError || error instanceof ClosedError) return false;
  return error instanceof WasmtimeRuntimeError || error instanceof WireError || error instanceof InvalidAnswerError;
}
