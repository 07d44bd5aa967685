/** How calls end: failures of the addon and of JavaScript, as outcomes for the breaker and as errors for the caller. */
import { errorOf, PoolSaturatedError, type SaturatedResource } from '../errors.ts';
import type { CallOutcome } from '../isolation/slot-stats.ts';
import type { NativeFailure } from '../native/addon.ts';
import { InvalidAnswerError } from '../policy/invalid-answer.ts';
import { WireError } from '../wire/decode.ts';
import type { HookCall } from './hook-call.ts';

/** A failure of a call. */
export interface CallFailure extends NativeFailure {
  /** The reason why a limit rejects the same call each time. */
  readonly neverFits?: string;
}

/** The guest time of a call whose guest was never entered, as the addon reports it. */
export const NEVER_ENTERED = Number.NaN;

/**
 * An expired call counts against the plugin if its thread ran for this share of the second half of its deadline (the
 * measured part), or for this many milliseconds of it. Otherwise the machine was busy.
 */
const BLAMED_SHARE = 0.5;
const BLAMED_CPU_MS = 50;

/** Returns the failure of a call that a limit of this package rejects before it reaches the addon. */
export function saturated(resource: SaturatedResource, neverFits?: string): CallFailure {
  const failure: CallFailure = {
    failed: true,
    kind: 'saturated',
    message: '',
    reason: null,
    resource,
    retryable: false,
    phase: null,
    trap: null,
    cpuShare: null,
    frames: [],
  };
  return neverFits === undefined ? failure : { ...failure, neverFits };
}

/** Whether the guest was entered, so that the metrics count the call. */
export function wasEntered(seconds: number): boolean {
  return !Number.isNaN(seconds);
}

/** Adds the guest times of a call and of its repetition, of which either may not have entered the guest. */
export function sumOfSeconds(first: number, second: number): number {
  if (!wasEntered(first)) return second;
  return wasEntered(second) ? first + second : first;
}

/** Returns the outcome of a failed call. */
export function outcomeOfFailure(
  { kind, trap, cpuShare }: NativeFailure,
  { deadlineMs }: Pick<HookCall<unknown>, 'deadlineMs'>,
): CallOutcome {
  switch (kind) {
    case 'trap':
      if (trap !== 'interrupt') return 'trap';
      return cpuShare !== null && cpuShare < BLAMED_SHARE && (cpuShare * deadlineMs) / 2 < BLAMED_CPU_MS
        ? 'starved'
        : 'expired';
    case 'rejected':
    case 'answer-size':
      return 'invalid-answer';
    case 'instantiate':
      return 'instantiate-failed';
    case 'saturated':
      return 'saturated';
    default:
      return 'none';
  }
}

/** Returns the outcome of a call with a decoded answer. */
export function outcomeOfAnswer<Answer>(call: HookCall<Answer>, answer: Answer): CallOutcome {
  return call.breaksRule(answer) ? 'invalid-answer' : 'success';
}

/** Returns the outcome of a call that threw: any error but one about the answer was thrown by the caller's code. */
export function outcomeOfError(error: unknown): CallOutcome {
  return error instanceof WireError || error instanceof InvalidAnswerError ? 'invalid-answer' : 'none';
}

/** Returns the error to throw for a failure. */
export function errorOfFailure(failure: CallFailure, call: HookCall<unknown>): Error {
  if (failure.neverFits !== undefined) {
    return new PoolSaturatedError(failure.resource!, call.context(), failure.neverFits);
  }
  if (failure.kind === 'answer-size') return new InvalidAnswerError('size', failure.message);
  return errorOf(failure, call.context());
}
