/**
 * One hook call: encode, guest, decode. The inline and the off-thread form share everything but the thread that
 * the guest runs on.
 */
import { isUint8Array } from 'node:util/types';
import type { HotEngineConfig } from '../config.ts';
import { isCallTraced, publishSaturation, publishTrap, traceInline, traceThreaded } from '../diagnostics.ts';
import {
  ClosedError,
  type ErrorContext,
  errorOf,
  InvalidArgumentError,
  PoolSaturatedError,
  type SaturatedResource,
} from '../errors.ts';
import type { VersionGuard } from '../isolation/guard.ts';
import type { CallOutcome } from '../isolation/slot-stats.ts';
import type { MetricsSink } from '../metrics.ts';
import type { NativeFailure, NativeModule } from '../native.ts';
import { AnswerRefused } from '../policy/refusal.ts';
import { HOOK_KINDS, type HookKind } from '../types.ts';
import { isGone } from '../views.ts';
import { WireError } from '../wire/decode.ts';
import { encodeRequest } from '../wire/encode.ts';
import type { Message } from '../wire/rkyv.ts';
import { onAbort } from './abort.ts';
import { enqueue } from './queue.ts';
import { type CallScratch, leaseScratch, returnScratch } from './scratch.ts';

/** Numbers of the hooks on the native boundary. */
const HOOK_NUMBERS = Object.fromEntries(HOOK_KINDS.map((hook, number) => [hook, number])) as Record<HookKind, number>;
const NO_BODY = new Uint8Array(0);
/** The one failure that arises on this side of the boundary. */
const QUEUE_FULL: NativeFailure = { failed: true, kind: 'saturated', place: 'queue', trap: null, message: '' };

/** Whose hook is called, and for how long at most. */
export interface CallTarget {
  readonly module: NativeModule;
  readonly hook: HookKind;
  /** The `plugin` label of its metrics. */
  readonly plugin: string;
  readonly deadlineMs: number;
  /** The caller that the breaker of a global slot counts the call for. */
  readonly principal: string;
  /** The guard of the slot version; null for probes, which belong to no slot. */
  readonly guard: VersionGuard | null;
  /** Where it came from, for errors. Made when there is one. */
  readonly context: () => ErrorContext;
  /** A larger answer is refused before it is copied. */
  readonly maxAnswerBytes: number;
  /** Probes run outside the budget. */
  readonly probe?: boolean;
}

/**
 * What is made of an answer. `owned` tells bytes that belong to the answer alone from a view of leased memory, of
 * which nothing may be kept.
 */
export type ReadAnswer<T> = (bytes: Uint8Array, owned: boolean) => T;

/** Calls hooks for one runtime and counts what happened. */
export class Dispatcher {
  readonly config: HotEngineConfig;
  readonly #metrics: MetricsSink;
  #closed = false;
  #inFlight = 0;
  #idle: (() => void)[] = [];

  constructor(config: HotEngineConfig, metrics: MetricsSink) {
    this.config = config;
    this.#metrics = metrics;
  }

  /** Refuses new calls from now on. */
  close(): void {
    this.#closed = true;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Calls that were begun off this thread, or wait there, and have not ended. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Resolves when no call is in flight. */
  async drained(): Promise<void> {
    if (this.#inFlight > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  /** Throws ClosedError after `close()`. */
  checkOpen(): void {
    if (this.#closed) throw new ClosedError();
  }

  /** Counts what happened to one call, after everything it leased was given back. */
  #count(target: CallTarget, failure: NativeFailure | null, seconds: number): void {
    if (!Number.isNaN(seconds)) {
      const plugin = target.guard === null ? target.plugin : target.guard.label(target.plugin);
      this.#metrics.call(plugin, target.hook, seconds);
      if (failure?.kind === 'trap') this.#countTrap(target, plugin, failure.place ?? 'unknown', failure.trap);
      else if (failure?.kind === 'rejected') this.#countTrap(target, plugin, 'reject', null);
    } else if (failure?.kind === 'saturated') {
      this.countSaturation(failure.place as SaturatedResource, target);
    }
  }

  #countTrap(target: CallTarget, plugin: string, phase: string, trap: string | null): void {
    this.#metrics.trap(plugin, target.hook, phase);
    publishTrap(target, phase, trap);
  }

  /** Counts a refusal for want of a resource, of a call's or of an admission's. */
  countSaturation(resource: SaturatedResource, target?: Pick<CallTarget, 'context'>): void {
    this.#metrics.saturation(resource);
    publishSaturation(resource, target);
  }

  /** Calls on this thread. Throws the runtime error of a failure, and whatever `encode` or `read` throws. */
  inline<T>(target: CallTarget, encode: (scratch: CallScratch) => void, read: ReadAnswer<T>): T {
    if (isCallTraced()) return traceInline(target, () => this.#inline(target, encode, read));
    return this.#inline(target, encode, read);
  }

  #inline<T>(target: CallTarget, encode: (scratch: CallScratch) => void, read: ReadAnswer<T>): T {
    this.checkOpen();
    const { guard } = target;
    const began = guard === null ? 0 : guard.enter(target.principal, target.context);
    const scratch = leaseScratch();
    let failure: NativeFailure | null = null;
    let seconds = Number.NaN;
    let value: T | undefined;
    let refused: { error: unknown } | null = null;
    let outcome: CallOutcome = 'none';
    try {
      encode(scratch);
      const { bytes, start, headLength, tailLength } = scratch;
      const body = scratch.body ?? NO_BODY;
      const hook = HOOK_NUMBERS[target.hook];
      const probe = target.probe === true;
      const answer = target.module.call(
        hook,
        bytes,
        start,
        headLength,
        tailLength,
        body,
        target.deadlineMs,
        target.maxAnswerBytes,
        probe,
      );
      seconds = scratch.seconds;
      try {
        const end = start + headLength + tailLength;
        if (typeof answer === 'number') value = read(bytes.subarray(end, end + answer), false);
        else if ('failed' in answer) failure = answer;
        else {
          value = read(answer, true);
          scratch.expect(end + answer.length);
        }
        outcome = failure === null ? 'success' : outcomeOf(failure);
      } catch (error) {
        refused = { error };
        outcome = outcomeOfRefusal(error);
      }
    } finally {
      returnScratch(scratch);
      if (guard !== null) guard.exit(began, target.principal, outcome, seconds);
    }
    this.#count(target, failure, seconds);
    if (failure !== null) throw failureOf(failure, target);
    if (refused !== null) throw refused.error;
    return value as T;
  }

  /**
   * Calls on another thread. The request is staged before this returns its promise, so later changes to the caller's
   * buffers do not matter. Rejects as `inline` throws, and with `signal.reason` when the signal aborts.
   */
  threaded<T>(
    target: CallTarget,
    encode: (scratch: CallScratch) => void,
    read: ReadAnswer<T>,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<T> {
    if (isCallTraced()) return traceThreaded(target, () => this.#threaded(target, encode, read, options));
    return this.#threaded(target, encode, read, options);
  }

  async #threaded<T>(
    target: CallTarget,
    encode: (scratch: CallScratch) => void,
    read: ReadAnswer<T>,
    options: { readonly signal?: AbortSignal | undefined },
  ): Promise<T> {
    this.checkOpen();
    options.signal?.throwIfAborted();
    const began = target.guard === null ? 0 : target.guard.enter(target.principal, target.context);
    let staged: ReturnType<NativeModule['stage']> | undefined;
    try {
      staged = this.#stage(target, encode);
    } finally {
      if (staged === undefined) target.guard?.exit(began, target.principal, 'none', 0);
    }
    if ('failed' in staged) {
      target.guard?.exit(began, target.principal, outcomeOf(staged), 0);
      throw this.#failed(target, staged, Number.NaN);
    }
    return this.#run(target, began, staged, read, options);
  }

  #stage(target: CallTarget, encode: (scratch: CallScratch) => void): ReturnType<NativeModule['stage']> {
    const scratch = leaseScratch();
    try {
      encode(scratch);
      const { bytes, start, headLength, tailLength } = scratch;
      const body = scratch.body ?? NO_BODY;
      this.#checkStaging(target, headLength + tailLength + body.length);
      const hook = HOOK_NUMBERS[target.hook];
      const probe = target.probe === true;
      return target.module.stage(
        hook,
        bytes,
        start,
        headLength,
        tailLength,
        body,
        target.deadlineMs,
        target.maxAnswerBytes,
        probe,
      );
    } finally {
      returnScratch(scratch);
    }
  }

  /** Waiting frees no memory for a request that is larger than all of it. */
  #checkStaging(target: CallTarget, bytes: number): void {
    const { maxStagingBytes } = this.config;
    if (bytes <= maxStagingBytes) return;
    this.countSaturation('staging', target);
    const neverFits = `the request takes ${bytes} bytes, more than maxStagingBytes (${maxStagingBytes})`;
    throw new PoolSaturatedError('staging', target.context(), neverFits);
  }

  async #run<T>(
    target: CallTarget,
    began: number,
    staged: Exclude<ReturnType<NativeModule['stage']>, NativeFailure>,
    read: ReadAnswer<T>,
    { signal }: { readonly signal?: AbortSignal | undefined },
  ): Promise<T> {
    const { guard, principal } = target;
    const run = () => {
      try {
        guard?.recheck(began, principal, target.context);
      } catch (error) {
        staged.cancel();
        throw error;
      }
      return staged.run();
    };
    let queued: ReturnType<typeof enqueue<Awaited<ReturnType<typeof staged.run>>>>;
    try {
      queued = enqueue(run, target.probe ? Number.POSITIVE_INFINITY : this.config.maxQueuedCalls);
    } catch (error) {
      staged.cancel();
      const full = error instanceof PoolSaturatedError;
      guard?.exit(began, principal, full ? 'saturated' : 'none', 0);
      throw full ? this.#failed(target, QUEUE_FULL, Number.NaN) : error;
    }
    this.#inFlight++;
    let stopListening: (() => void) | undefined;
    let ended: CallOutcome = 'none';
    let seconds = 0;
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
      // An answer that was there before the abort is still an answer that nobody waits for.
      signal?.throwIfAborted();
      if (outcome === null) throw new Error('a call left the queue without an abort');
      seconds = outcome.seconds;
      if (outcome.failure !== null) {
        ended = outcomeOf(outcome.failure);
        throw this.#failed(target, outcome.failure, seconds);
      }
      this.#count(target, null, seconds);
      try {
        const value = read(outcome.answer!, true);
        ended = 'success';
        return value;
      } catch (error) {
        ended = outcomeOfRefusal(error);
        throw error;
      }
    } finally {
      stopListening?.();
      guard?.exit(began, principal, ended, seconds);
      if (--this.#inFlight === 0) for (const resolve of this.#idle.splice(0)) resolve();
    }
  }

  #failed(target: CallTarget, failure: NativeFailure, seconds: number): Error {
    this.#count(target, failure, seconds);
    return failureOf(failure, target);
  }
}

/** Bytes that no answer can exceed: for calls whose answer has no bound. */
export const ANY_ANSWER = 0xffff_ffff;

function outcomeOf({ kind, trap }: NativeFailure): CallOutcome {
  switch (kind) {
    case 'trap':
      return trap === 'interrupt' ? 'expired' : 'trap';
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

/** Anything but a fault of the answer was thrown by the caller's code. */
function outcomeOfRefusal(error: unknown): CallOutcome {
  return error instanceof WireError || error instanceof AnswerRefused ? 'invalid-answer' : 'none';
}

function failureOf(failure: NativeFailure, target: CallTarget): Error {
  if (failure.kind === 'answer-size') return new AnswerRefused('size', failure.message);
  return errorOf(failure, target.context());
}

/** Encodes a message, checking that the body is memory that may cross and did not change meanwhile. */
export function encodeMessage<T>(message: Message<T>, value: T): (scratch: CallScratch) => void {
  return (scratch) => {
    encodeRequest(message, value, scratch);
    if (scratch.body !== null) checkBytes(scratch.body, 'body');
  };
}

/** Puts bytes that are encoded already in a scratch's place of the body. */
export function rawRequest(input: Uint8Array): (scratch: CallScratch) => void {
  return (scratch) => {
    scratch.headLength = 0;
    scratch.tailLength = 0;
    scratch.body = input;
  };
}

/** Throws an InvalidArgumentError unless `value` is a Uint8Array over memory that is there and no other thread writes to. */
export function checkBytes(value: unknown, path: string): asserts value is Uint8Array {
  if (!isUint8Array(value)) throw new InvalidArgumentError(path, 'expected a Uint8Array');
  if (value.buffer instanceof SharedArrayBuffer) {
    throw new InvalidArgumentError(
      path,
      'expected a Uint8Array that is not over a SharedArrayBuffer, whose bytes may change during the call',
    );
  }
  if (isGone(value)) throw new InvalidArgumentError(path, 'the buffer of the Uint8Array is detached or has shrunk');
}
