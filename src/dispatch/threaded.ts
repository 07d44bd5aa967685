/**
 * Calls on other threads: a request is staged (copied into memory of the addon), waits for the turn of its principal,
 * and runs on a thread of libuv's pool. An abort removes it from the queue, or interrupts its guest.
 */
import type { HotEngineConfig } from '../config.ts';
import { PoolSaturatedError } from '../errors.ts';
import type { CallOutcome } from '../isolation/slot-stats.ts';
import type { NativeModule, NativeTaskOutcome } from '../native/addon.ts';
import { onAbort } from './abort.ts';
import type { CallRecorder } from './call-recorder.ts';
import { encodeCall } from './encode.ts';
import type { HookCall } from './hook-call.ts';
import type { InFlight } from './in-flight.ts';
import {
  type CallFailure,
  errorOfFailure,
  NEVER_ENTERED,
  outcomeOfAnswer,
  outcomeOfError,
  outcomeOfFailure,
  saturated,
  sumOfSeconds,
} from './outcome.ts';
import { enqueue, type Queued } from './queue.ts';
import { type CallScratch, leaseScratch, returnScratch } from './scratch.ts';

/** A call whose request is in memory of the addon. It must be run or canceled. */
export type Staged = Exclude<ReturnType<NativeModule['stage']>, { failed: boolean }>;

/** The result of a call that ran, or that a full queue rejected. */
type Result = Pick<NativeTaskOutcome, 'answer' | 'seconds' | 'totalSeconds'> & {
  readonly failure: CallFailure | null;
};

/** The off-thread calls of one runtime. */
export class ThreadedCalls {
  readonly #config: HotEngineConfig;
  readonly #inFlight: InFlight;
  readonly #recorder: CallRecorder;

  constructor(config: HotEngineConfig, inFlight: InFlight, recorder: CallRecorder) {
    this.#config = config;
    this.#inFlight = inFlight;
    this.#recorder = recorder;
  }

  /** Stages and runs a call. Throws, or rejects, as `Dispatcher.threaded`. */
  async call<Answer>(call: HookCall<Answer>): Promise<Answer> {
    call.signal?.throwIfAborted();
    const { guard, principal } = call;
    const began = guard === null ? 0 : guard.enter(principal, call);
    let staged: Staged | CallFailure | undefined;
    try {
      staged = this.#encodeAndStage(call);
    } finally {
      if (staged === undefined) guard?.exit(began, principal, 'none', NEVER_ENTERED);
    }
    if ('failed' in staged) {
      guard?.exit(began, principal, outcomeOfFailure(staged, call), NEVER_ENTERED);
      this.#recorder.ended(call, staged, NEVER_ENTERED);
      throw errorOfFailure(staged, call);
    }
    return this.run(call, began, staged, NEVER_ENTERED);
  }

  /** Stages a call whose request is encoded in `scratch`. */
  stage(call: HookCall<unknown>, scratch: CallScratch): Staged | CallFailure {
    const { maxStagingBytes } = this.#config;
    const bytes = scratch.requestBytes;
    if (bytes > maxStagingBytes) {
      return saturated('staging', `the request takes ${bytes} bytes, more than maxStagingBytes (${maxStagingBytes})`);
    }
    scratch.setParameters(call, 0);
    return (call.stream ?? call.module).stage(scratch.bytes, scratch.requestBody, queuedFor(call));
  }

  /**
   * Runs a staged call that its guard admitted at `began`, and decodes its answer. `slicedSeconds` is the time in the
   * guest of the inline call that it repeats.
   */
  async run<Answer>(call: HookCall<Answer>, began: number, staged: Staged, slicedSeconds: number): Promise<Answer> {
    const { guard, principal, signal } = call;
    let outcome: CallOutcome = 'none';
    let seconds = slicedSeconds;
    let queued: Queued<NativeTaskOutcome>;
    try {
      queued = this.#enqueue(call, began, staged);
    } catch (error) {
      // The stack is exhausted.
      staged.cancel();
      guard?.exit(began, principal, outcome, seconds);
      throw error;
    }
    this.#inFlight.begin();
    try {
      const result = await resultOf(queued, staged, signal);
      const { failure, answer } = result;
      seconds = sumOfSeconds(slicedSeconds, result.seconds);
      // The caller no longer waits for an answer that arrived before the abort.
      signal?.throwIfAborted();
      const hasRun = failure !== QUEUE_FULL && failure?.kind !== 'cancelled';
      if (hasRun) this.#recorder.took(call, result.totalSeconds * 1_000);
      this.#recorder.ended(call, failure, seconds);
      if (failure !== null) {
        outcome = outcomeOfFailure(failure, call);
        throw errorOfFailure(failure, call);
      }
      try {
        const value = call.decode({ bytes: answer!, start: 0, end: answer!.length, leased: false });
        outcome = outcomeOfAnswer(call, value);
        return value;
      } catch (error) {
        outcome = outcomeOfError(error);
        throw error;
      }
    } finally {
      guard?.exit(began, principal, outcome, seconds);
      this.#inFlight.end();
    }
  }

  #encodeAndStage(call: HookCall<unknown>): Staged | CallFailure {
    const scratch = leaseScratch();
    try {
      encodeCall(call, scratch);
      return this.stage(call, scratch);
    } finally {
      returnScratch(scratch);
    }
  }

  #enqueue(call: HookCall<unknown>, began: number, staged: Staged): Queued<NativeTaskOutcome> {
    const { guard, principal, probe } = call;
    const run = () => {
      guard?.recheck(began, principal, call);
      return staged.run();
    };
    return enqueue(run, probe ? Number.POSITIVE_INFINITY : this.#config.maxQueuedCalls, queuedFor(call));
  }
}

function queuedFor({ queuedFor, principal }: HookCall<unknown>): string {
  return queuedFor ?? principal;
}

const QUEUE_FULL = saturated('queue');
const NOT_RUN: Result = { answer: null, failure: QUEUE_FULL, seconds: NEVER_ENTERED, totalSeconds: 0 };

/** Returns the result of a queued call. Rejects if the call was aborted or its plugin was disabled while it waited. */
async function resultOf(
  queued: Queued<NativeTaskOutcome>,
  staged: Staged,
  signal: AbortSignal | undefined,
): Promise<Result> {
  try {
    return await (signal === undefined ? queued.done : doneUnlessAborted(queued, staged, signal));
  } catch (error) {
    staged.cancel();
    signal?.throwIfAborted();
    if (error instanceof PoolSaturatedError) return NOT_RUN;
    throw error;
  }
}

/** Settles as a queued call does. An abort interrupts a running call, and rejects a waiting one immediately. */
async function doneUnlessAborted<T>(queued: Queued<T>, staged: Staged, signal: AbortSignal): Promise<T> {
  let stopListening!: () => void;
  const removed = new Promise<never>((_, reject) => {
    stopListening = onAbort(signal, () => {
      staged.cancel();
      if (queued.remove()) reject(signal.reason);
    });
  });
  try {
    return await Promise.race([queued.done, removed]);
  } finally {
    stopListening();
  }
}
