/**
 * One hook call: encode, guest, decode. The inline and the off-thread form share everything but the thread that
 * the guest runs on.
 */
import { isUint8Array } from 'node:util/types';
import type { HotEngineConfig } from '../config.ts';
import {
  ClosedError,
  type ErrorContext,
  errorOf,
  InvalidArgumentError,
  PoolSaturatedError,
  type SaturatedResource,
} from '../errors.ts';
import type { MetricsSink } from '../metrics.ts';
import type { NativeFailure, NativeModule } from '../native.ts';
import { AnswerRefused } from '../policy/refusal.ts';
import { HOOK_KINDS, type HookKind } from '../types.ts';
import { isGone } from '../views.ts';
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
      this.#metrics.call(target.plugin, target.hook, seconds);
      if (failure?.kind === 'trap') this.#metrics.trap(target.plugin, target.hook, failure.place ?? 'unknown');
      else if (failure?.kind === 'rejected') this.#metrics.trap(target.plugin, target.hook, 'reject');
    } else if (failure?.kind === 'saturated') {
      this.#metrics.saturation(failure.place as SaturatedResource);
    }
  }

  /** Counts a refusal that no call met. */
  countSaturation(resource: SaturatedResource): void {
    this.#metrics.saturation(resource);
  }

  /** Calls on this thread. Throws the runtime error of a failure, and whatever `encode` or `read` throws. */
  inline<T>(target: CallTarget, encode: (scratch: CallScratch) => void, read: ReadAnswer<T>): T {
    this.checkOpen();
    const scratch = leaseScratch();
    let failure: NativeFailure | null = null;
    let seconds = Number.NaN;
    let value: T | undefined;
    let refused: { error: unknown } | null = null;
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
      } catch (error) {
        refused = { error };
      }
    } finally {
      returnScratch(scratch);
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
  async threaded<T>(
    target: CallTarget,
    encode: (scratch: CallScratch) => void,
    read: ReadAnswer<T>,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<T> {
    this.checkOpen();
    options.signal?.throwIfAborted();
    const scratch = leaseScratch();
    let staged: ReturnType<NativeModule['stage']>;
    try {
      encode(scratch);
      const { bytes, start, headLength, tailLength } = scratch;
      const body = scratch.body ?? NO_BODY;
      this.#checkStaging(target, headLength + tailLength + body.length);
      const hook = HOOK_NUMBERS[target.hook];
      const probe = target.probe === true;
      staged = target.module.stage(
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
    if ('failed' in staged) throw this.#failed(target, staged, Number.NaN);
    return this.#run(target, staged, read, options);
  }

  /** Waiting frees no memory for a request that is larger than all of it. */
  #checkStaging(target: CallTarget, bytes: number): void {
    const { maxStagingBytes } = this.config;
    if (bytes <= maxStagingBytes) return;
    this.countSaturation('staging');
    const neverFits = `the request takes ${bytes} bytes, more than maxStagingBytes (${maxStagingBytes})`;
    throw new PoolSaturatedError('staging', target.context(), neverFits);
  }

  async #run<T>(
    target: CallTarget,
    staged: Exclude<ReturnType<NativeModule['stage']>, NativeFailure>,
    read: ReadAnswer<T>,
    { signal }: { readonly signal?: AbortSignal | undefined },
  ): Promise<T> {
    let queued: ReturnType<typeof enqueue<Awaited<ReturnType<typeof staged.run>>>>;
    try {
      queued = enqueue(() => staged.run(), target.probe ? Number.POSITIVE_INFINITY : this.config.maxQueuedCalls);
    } catch (error) {
      staged.cancel();
      if (!(error instanceof PoolSaturatedError)) throw error;
      throw this.#failed(target, QUEUE_FULL, Number.NaN);
    }
    this.#inFlight++;
    let stopListening: (() => void) | undefined;
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
      if (outcome.failure !== null) throw this.#failed(target, outcome.failure, outcome.seconds);
      this.#count(target, null, outcome.seconds);
      return read(outcome.answer!, true);
    } finally {
      stopListening?.();
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
    throw new InvalidArgumentError(path, 'expected memory of its own: a SharedArrayBuffer may change during the call');
  }
  if (isGone(value))
    throw new InvalidArgumentError(path, 'expected bytes, but their buffer was detached or has shrunk');
}
