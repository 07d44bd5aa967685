/** Makes the hook calls of one runtime: encode, guest, decode. Both threads share everything but where the guest runs. */
import type { HotEngineConfig } from '../config.ts';
import { isCallTraced, traceInline, traceSliced, traceThreaded } from '../diagnostics.ts';
import { ClosedError, type SaturatedResource } from '../errors.ts';
import type { CallOutcome } from '../isolation/slot-stats.ts';
import type { MetricsSink } from '../metrics/sink.ts';
import { type NativeFailure, native } from '../native/addon.ts';
import { CallRecorder } from './call-recorder.ts';
import { encodeCall } from './encode.ts';
import type { HookCall } from './hook-call.ts';
import { InFlight } from './in-flight.ts';
import {
  type CallFailure,
  errorOfFailure,
  NEVER_ENTERED,
  outcomeOfAnswer,
  outcomeOfError,
  outcomeOfFailure,
} from './outcome.ts';
import { leaseScratch, returnScratch } from './scratch.ts';
import { type Staged, ThreadedCalls } from './threaded.ts';

/** Calls the hooks of one runtime and counts outcomes. */
export class Dispatcher {
  readonly config: HotEngineConfig;
  readonly inFlight = new InFlight();
  readonly #recorder: CallRecorder;
  readonly #threads: ThreadedCalls;
  #closed = false;

  constructor(config: HotEngineConfig, metrics: MetricsSink) {
    this.config = config;
    this.#recorder = new CallRecorder(metrics, config);
    this.#threads = new ThreadedCalls(config, this.inFlight, this.#recorder);
  }

  /** Rejects all later calls. */
  close(): void {
    this.#closed = true;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Throws ClosedError after `close()`. */
  checkOpen(): void {
    if (this.#closed) throw new ClosedError();
  }

  /** Counts the end of a call that the guard of its version admitted and that other code made. */
  ended(call: HookCall<unknown>, began: number, failure: NativeFailure | null, seconds: number): void {
    const outcome = failure === null ? 'success' : outcomeOfFailure(failure, call);
    call.guard?.exit(began, call.principal, outcome, seconds);
    this.#recorder.ended(call, failure, seconds);
  }

  /** Counts a call or an admission that was rejected because a resource was exhausted. */
  countSaturation(resource: SaturatedResource, call?: Pick<HookCall<unknown>, 'context'>): void {
    this.#recorder.saturated(resource, call);
  }

  /** Whether asynchronous calls of this hook run off the thread, because earlier ones took long. */
  isLong(call: HookCall<unknown>): boolean {
    return this.#recorder.isLong(call);
  }

  /** Calls on this thread. Throws the runtime error of a failure, and what `encode` or `decode` throws. */
  inline<Answer>(call: HookCall<Answer>): Answer {
    return isCallTraced() ? traceInline(call, () => this.#inline(call)) : this.#inline(call);
  }

  /**
   * Calls on this thread for a slice of CPU time, `inlineSliceMs`. A call that exceeds it is interrupted and repeated
   * off the thread, with the same bytes and its full deadline. Plugins import nothing, so no effect happens twice.
   * Throws, or rejects, as `threaded` does.
   */
  sliced<Answer>(call: HookCall<Answer>): Answer | Promise<Answer> {
    if (this.config.inlineSliceMs === 0) return this.inline(call);
    return isCallTraced() ? traceSliced(call, () => this.#sliced(call)) : this.#sliced(call);
  }

  /**
   * Calls on another thread. The request is staged before this returns, so later changes to the caller's buffers have
   * no effect. Rejects with what `inline` throws, and with `signal.reason` when the signal aborts.
   */
  threaded<Answer>(call: HookCall<Answer>): Promise<Answer> {
    return isCallTraced() ? traceThreaded(call, () => this.#threaded(call)) : this.#threaded(call);
  }

  #inline<Answer>(call: HookCall<Answer>): Answer {
    // Without a slice a call is never repeated, so there is no promise.
    return this.#here(call, 0) as Answer;
  }

  #sliced<Answer>(call: HookCall<Answer>): Answer | Promise<Answer> {
    const began = performance.now();
    // An event of a stream changes its instance's state, so it cannot be repeated.
    let result: Answer | Promise<Answer> | undefined;
    try {
      result = this.#here(call, call.stream === null ? this.config.inlineSliceMs : 0);
      return result;
    } finally {
      // The duration of a repeated call is recorded when it ends.
      if (!(result instanceof Promise)) this.#recorder.blocked(call, performance.now() - began);
    }
  }

  async #threaded<Answer>(call: HookCall<Answer>): Promise<Answer> {
    this.checkOpen();
    return this.#threads.call(call);
  }

  #here<Answer>(call: HookCall<Answer>, sliceMs: number): Answer | Promise<Answer> {
    this.checkOpen();
    const { guard } = call;
    const began = guard === null ? 0 : guard.enter(call.principal, call);
    const scratch = leaseScratch();
    let seconds = NEVER_ENTERED;
    let outcome: CallOutcome = 'none';
    let value: Answer | undefined;
    let failure: CallFailure | null = null;
    let thrown: { error: unknown } | null = null;
    /** The repetition of a call that exceeded its slice. */
    let staged: Staged | null = null;
    try {
      encodeCall(call, scratch);
      const { end } = scratch;
      scratch.setParameters(call, sliceMs);
      const answer = native.callHook(scratch.bytes, scratch.requestBody);
      seconds = scratch.seconds;
      try {
        if (typeof answer === 'number') {
          value = call.decode({ bytes: scratch.bytes, start: end, end: end + answer, leased: true });
        } else if (!('failed' in answer)) {
          value = call.decode({ bytes: answer, start: 0, end: answer.length, leased: false });
          scratch.expect(end + answer.length);
        } else if (answer.kind === 'sliced') {
          this.#recorder.sliced(call);
          const repetition = this.#threads.stage(call, scratch);
          if ('failed' in repetition) failure = repetition;
          else staged = repetition;
        } else failure = answer;
        if (failure !== null) outcome = outcomeOfFailure(failure, call);
        else if (staged === null) outcome = outcomeOfAnswer(call, value as Answer);
      } catch (error) {
        thrown = { error };
        outcome = outcomeOfError(error);
      }
    } finally {
      returnScratch(scratch);
      if (staged === null) guard?.exit(began, call.principal, outcome, seconds);
    }
    if (staged !== null) return this.#threads.run(call, began, staged, seconds);
    this.#recorder.ended(call, failure, seconds);
    if (failure !== null) throw errorOfFailure(failure, call);
    if (thrown !== null) throw thrown.error;
    return value as Answer;
  }
}
