/**
 * One hook call: encode, guest, decode. The inline and the off-thread form share everything but the thread that
 * the guest runs on.
 */
import type { HotEngineConfig } from '../config.ts';
import {
  isCallTraced,
  publishSaturation,
  publishTrap,
  traceInline,
  traceSliced,
  traceThreaded,
} from '../diagnostics.ts';
import { ClosedError, type ErrorContext, errorOf, PoolSaturatedError, type SaturatedResource } from '../errors.ts';
import type { VersionGuard } from '../isolation/guard.ts';
import type { CallOutcome } from '../isolation/slot-stats.ts';
import type { MetricsSink } from '../metrics/sink.ts';
import { type NativeFailure, type NativeModule, type NativeStream, native } from '../native/addon.ts';
import { InvalidAnswerError } from '../policy/refusal.ts';
import { HOOK_KINDS, type HookKind } from '../types.ts';
import { checkBytes } from '../validate.ts';
import { WireError } from '../wire/decode.ts';
import { encodeRequest } from '../wire/encode.ts';
import type { Prefix } from '../wire/prefix.ts';
import type { Message } from '../wire/rkyv.ts';
import { onAbort } from './abort.ts';
import { InFlight } from './in-flight.ts';
import type { Placement } from './placement.ts';
import { enqueue } from './queue.ts';
import { type CallScratch, leaseScratch, returnScratch } from './scratch.ts';

const NO_BODY = new Uint8Array(0);
/** A failure of a call. `neverFits` is the reason why a limit rejects the same call each time. */
interface CallFailure extends NativeFailure {
  readonly neverFits?: string;
}
type Staged = Exclude<ReturnType<NativeModule['stage']>, NativeFailure>;
/** A failure that JavaScript, not the addon, creates; the other one is that of `#stageEncoded`. */
const QUEUE_FULL: CallFailure = {
  failed: true,
  kind: 'saturated',
  message: '',
  reason: null,
  resource: 'queue',
  retryable: false,
  phase: null,
  trap: null,
  cpuShare: null,
  frames: [],
};
/**
 * An expired call counts against the plugin if its thread ran for this share of the second half of its deadline (the
 * measured part), or for this many milliseconds of it. Otherwise the machine was busy.
 */
const BLAMED_SHARE = 0.5;
const BLAMED_CPU_MS = 50;

/** One call of a hook: its target, its limits, and the encoding and decoding of its message. */
export interface HookCall<Answer> {
  readonly module: NativeModule;
  /** The number of the module, or of the stream, for calls on this thread. */
  readonly target: number;
  readonly hook: HookKind;
  /** The `plugin` label of its metrics. */
  readonly plugin: string;
  readonly deadlineMs: number;
  /** The calling principal, which the breaker of a global slot counts separately. */
  readonly principal: string;
  /** The guard of the slot version; null for probes, which belong to no slot. */
  readonly guard: VersionGuard | null;
  /** A larger answer is rejected before it is copied. */
  readonly maxAnswerBytes: number;
  /** The stream whose instance serves the call; null for a fresh instance. */
  readonly stream: NativeStream | null;
  /** Probes run outside the budget. */
  readonly probe: boolean;
  /** Aborts an off-thread call. */
  readonly signal: AbortSignal | undefined;
  /** The context of the call for errors. */
  context(): ErrorContext;
  /** Writes the request into `scratch`. Runs the caller's getters, and throws what they throw. */
  encode(scratch: CallScratch): void;
  /** Decodes the answer in `bytes[start, end)`. If the bytes are leased, the answer must not reference them. */
  decode(bytes: Buffer, start: number, end: number, leased: boolean): Answer;
  /** Whether a decoded answer breaks a rule that only the chain enforces. Such an answer counts as invalid. */
  breaksRule(answer: Answer): boolean;
}

/** Calls the hooks of one runtime and counts outcomes. */
export class Dispatcher {
  readonly config: HotEngineConfig;
  readonly inFlight = new InFlight();
  readonly #metrics: MetricsSink;
  #closed = false;

  constructor(config: HotEngineConfig, metrics: MetricsSink) {
    this.config = config;
    this.#metrics = metrics;
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

  /** Counts the outcome of one call, after everything that it leased was returned. */
  #count(call: HookCall<unknown>, failure: NativeFailure | null, seconds: number): void {
    // A call may be rejected after its guest ran, when its repetition off the thread does not fit.
    if (failure?.kind === 'saturated') this.countSaturation(failure.resource!, call);
    if (Number.isNaN(seconds)) return;
    const plugin = call.guard === null ? call.plugin : call.guard.label(call.plugin);
    this.#metrics.call(plugin, call.hook, seconds);
    if (failure?.kind === 'trap') this.#countTrap(call, plugin, failure.phase!, failure.trap);
    else if (failure?.kind === 'rejected') this.#countTrap(call, plugin, 'reject', null);
  }

  #countTrap(call: HookCall<unknown>, plugin: string, phase: string, trap: string | null): void {
    this.#metrics.trap(plugin, call.hook, phase);
    publishTrap(call, phase, trap);
  }

  /** Counts the end of a call that the guard of its version admitted and that other code made. */
  ended(call: HookCall<unknown>, began: number, failure: NativeFailure | null, seconds: number): void {
    call.guard?.exit(began, call.principal, failure === null ? 'success' : outcomeOf(failure, call), seconds);
    this.#count(call, failure, seconds);
  }

  /** Counts a call or an admission that was rejected because a resource was exhausted. */
  countSaturation(resource: SaturatedResource, call?: Pick<HookCall<unknown>, 'context'>): void {
    this.#metrics.saturation(resource);
    publishSaturation(resource, call);
  }

  /** Calls on this thread. Throws the runtime error of a failure, and what `encode` or `decode` throws. */
  inline<Answer>(call: HookCall<Answer>): Answer {
    return isCallTraced() ? traceInline(call, () => this.#inline(call)) : this.#inline(call);
  }

  #inline<Answer>(call: HookCall<Answer>): Answer {
    // Without a slice a call is never repeated, so there is no promise.
    return this.#here(call, 0) as Answer;
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

  #sliced<Answer>(call: HookCall<Answer>): Answer | Promise<Answer> {
    const began = performance.now();
    // An event of a stream changes its instance's state, so it cannot be repeated.
    let result: Answer | Promise<Answer> | undefined;
    try {
      result = this.#here(call, call.stream === null ? this.config.inlineSliceMs : 0);
      return result;
    } finally {
      // The duration of a repeated call is recorded when it ends.
      if (!(result instanceof Promise)) this.#noteDuration(call, performance.now() - began);
    }
  }

  /** Whether asynchronous calls of this hook run off the thread, because earlier ones took long. */
  isLong(call: HookCall<unknown>): boolean {
    return placementOf(call)?.offThread === true && this.config.inlineSliceMs > 0;
  }

  /** Records how long a call took as a whole, for `isLong`. */
  #noteDuration(call: HookCall<unknown>, milliseconds: number): void {
    const long = milliseconds >= this.config.inlineSliceMs / 2;
    const placement = placementOf(call);
    // Only its deadline interrupts an event of a stream.
    if (long && call.stream !== null) placement?.noteDecisive();
    else placement?.note(long);
  }

  #here<Answer>(call: HookCall<Answer>, sliceMs: number): Answer | Promise<Answer> {
    this.checkOpen();
    const { guard } = call;
    const began = guard === null ? 0 : guard.enter(call.principal, call);
    const scratch = leaseScratch();
    let failure: CallFailure | null = null;
    let seconds = Number.NaN;
    let value: Answer | undefined;
    let refused: { error: unknown } | null = null;
    let outcome: CallOutcome = 'none';
    let staged: Staged | CallFailure | null = null;
    try {
      encode(call, scratch);
      const { bytes, start, headLength, tailLength } = scratch;
      setParameters(scratch, call, sliceMs);
      const answer = native.callHook(bytes, scratch.body ?? NO_BODY);
      seconds = scratch.seconds;
      try {
        const end = start + headLength + tailLength;
        if (typeof answer === 'number') value = call.decode(bytes, end, end + answer, true);
        else if ('failed' in answer) {
          if (answer.kind === 'sliced') {
            placementOf(call)?.noteDecisive();
            staged = this.#stageEncoded(call, scratch);
          }
          const failed = staged ?? answer;
          if ('failed' in failed) failure = failed;
        } else {
          value = call.decode(answer, 0, answer.length, false);
          scratch.expect(end + answer.length);
        }
        outcome = failure === null ? outcomeOfAnswer(call, value as Answer) : outcomeOf(failure, call);
      } catch (error) {
        refused = { error };
        outcome = outcomeOfRefusal(error);
      }
    } finally {
      returnScratch(scratch);
      if (guard !== null && (staged === null || 'failed' in staged)) {
        guard.exit(began, call.principal, outcome, seconds);
      }
    }
    if (staged !== null && !('failed' in staged)) return this.#run(call, began, staged, seconds);
    this.#count(call, failure, seconds);
    if (failure !== null) throw failureOf(failure, call);
    if (refused !== null) throw refused.error;
    return value as Answer;
  }

  /**
   * Calls on another thread. The request is staged before this returns, so later changes to the caller's buffers have
   * no effect. Rejects with what `inline` throws, and with `signal.reason` when the signal aborts.
   */
  threaded<Answer>(call: HookCall<Answer>): Promise<Answer> {
    return isCallTraced() ? traceThreaded(call, () => this.#threaded(call)) : this.#threaded(call);
  }

  async #threaded<Answer>(call: HookCall<Answer>): Promise<Answer> {
    this.checkOpen();
    call.signal?.throwIfAborted();
    const { guard } = call;
    const began = guard === null ? 0 : guard.enter(call.principal, call);
    let staged: Staged | CallFailure | undefined;
    try {
      staged = this.#stage(call);
    } finally {
      if (staged === undefined) guard?.exit(began, call.principal, 'none', 0);
    }
    if ('failed' in staged) {
      guard?.exit(began, call.principal, outcomeOf(staged, call), 0);
      throw this.#failed(call, staged, Number.NaN);
    }
    return this.#run(call, began, staged, Number.NaN);
  }

  #stage(call: HookCall<unknown>): Staged | CallFailure {
    const scratch = leaseScratch();
    try {
      encode(call, scratch);
      return this.#stageEncoded(call, scratch);
    } finally {
      returnScratch(scratch);
    }
  }

  #stageEncoded(call: HookCall<unknown>, scratch: CallScratch): Staged | CallFailure {
    const { maxStagingBytes } = this.config;
    const body = scratch.body ?? NO_BODY;
    const bytes = scratch.headLength + scratch.tailLength + body.length;
    if (bytes > maxStagingBytes) {
      const neverFits = `the request takes ${bytes} bytes, more than maxStagingBytes (${maxStagingBytes})`;
      return { ...QUEUE_FULL, resource: 'staging', neverFits };
    }
    setParameters(scratch, call, 0);
    return (call.stream ?? call.module).stage(scratch.bytes, body, call.principal);
  }

  async #run<Answer>(call: HookCall<Answer>, began: number, staged: Staged, slicedSeconds: number): Promise<Answer> {
    const { guard, principal, signal } = call;
    const run = () => {
      try {
        guard?.recheck(began, principal, call);
      } catch (error) {
        staged.cancel();
        throw error;
      }
      return staged.run();
    };
    let queued: ReturnType<typeof enqueue<Awaited<ReturnType<typeof staged.run>>>>;
    try {
      queued = enqueue(run, call.probe ? Number.POSITIVE_INFINITY : this.config.maxQueuedCalls, principal);
    } catch (error) {
      staged.cancel();
      const full = error instanceof PoolSaturatedError;
      guard?.exit(began, principal, full ? 'saturated' : 'none', slicedSeconds);
      throw full ? this.#failed(call, QUEUE_FULL, Number.NaN) : error;
    }
    this.inFlight.begin();
    let stopListening: (() => void) | undefined;
    let ended: CallOutcome = 'none';
    let seconds = slicedSeconds;
    try {
      const outcome = await (signal === undefined
        ? queued.done
        : Promise.race([
            queued.done,
            new Promise<null>((resolve) => {
              stopListening = onAbort(signal, () => {
                staged.cancel();
                if (queued.remove()) resolve(null);
              });
            }),
          ]));
      if (outcome !== null) seconds = sumOf(slicedSeconds, outcome.seconds);
      // The caller no longer waits for an answer that arrived before the abort.
      signal?.throwIfAborted();
      if (outcome === null) throw new Error('a call left the queue without an abort');
      if (outcome.failure?.kind !== 'cancelled') this.#noteDuration(call, outcome.totalSeconds * 1_000);
      if (outcome.failure !== null) {
        ended = outcomeOf(outcome.failure, call);
        throw this.#failed(call, outcome.failure, seconds);
      }
      this.#count(call, null, seconds);
      try {
        const answer = outcome.answer!;
        const value = call.decode(answer, 0, answer.length, false);
        ended = outcomeOfAnswer(call, value);
        return value;
      } catch (error) {
        ended = outcomeOfRefusal(error);
        throw error;
      }
    } catch (error) {
      // The queue displaced this call in favor of another principal.
      if (!(error instanceof PoolSaturatedError) || ended !== 'none' || signal?.aborted) throw error;
      staged.cancel();
      ended = 'saturated';
      throw this.#failed(call, QUEUE_FULL, Number.NaN);
    } finally {
      stopListening?.();
      guard?.exit(began, principal, ended, seconds);
      this.inFlight.end();
    }
  }

  #failed(call: HookCall<unknown>, failure: NativeFailure, seconds: number): Error {
    this.#count(call, failure, seconds);
    return failureOf(failure, call);
  }
}

/** A bound that no answer can exceed, for calls without a bound. */
export const ANY_ANSWER = 0xffff_ffff;

/** Adds durations, of which NaN is none. */
function sumOf(one: number, other: number): number {
  if (Number.isNaN(one)) return other;
  return Number.isNaN(other) ? one : one + other;
}

function placementOf({ guard, hook }: HookCall<unknown>): Placement | undefined {
  return guard?.placements[HOOK_KINDS.indexOf(hook)];
}

function outcomeOf({ kind, trap, cpuShare }: NativeFailure, { deadlineMs }: HookCall<unknown>): CallOutcome {
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

function outcomeOfAnswer<Answer>(call: HookCall<Answer>, answer: Answer): CallOutcome {
  return call.breaksRule(answer) ? 'invalid-answer' : 'success';
}

/** Any error but one about the answer was thrown by the caller's code. */
function outcomeOfRefusal(error: unknown): CallOutcome {
  return error instanceof WireError || error instanceof InvalidAnswerError ? 'invalid-answer' : 'none';
}

function failureOf(failure: CallFailure, call: HookCall<unknown>): Error {
  if (failure.neverFits !== undefined) {
    return new PoolSaturatedError(failure.resource!, call.context(), failure.neverFits);
  }
  if (failure.kind === 'answer-size') return new InvalidAnswerError('size', failure.message);
  return errorOf(failure, call.context());
}

/**
 * Encodes a call. Checks the signal before and after, because encoding runs the caller's getters, which may abort it.
 */
function encode(call: HookCall<unknown>, scratch: CallScratch): void {
  call.signal?.throwIfAborted();
  call.encode(scratch);
  call.signal?.throwIfAborted();
}

function setParameters(scratch: CallScratch, call: HookCall<unknown>, sliceMs: number): void {
  const { target, hook, deadlineMs, maxAnswerBytes, probe } = call;
  scratch.setParameters(target, HOOK_KINDS.indexOf(hook), deadlineMs, sliceMs, maxAnswerBytes, probe);
}

/** Encodes a message, and checks that its body was not detached in the meantime. */
export function encodeMessage<T>(
  message: Message<T>,
  value: T,
  scratch: CallScratch,
  prefix: Prefix | null = null,
): void {
  encodeRequest(message, value, scratch, prefix);
  // The encoder checks that the length did not change; the length of a detached buffer is 0.
  if (scratch.body?.length === 0) checkBytes(scratch.body, 'body');
}
