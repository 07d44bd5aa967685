/**
 * A monitored version receives a copy of sampled traffic outside the request path. Its answers are compared, never
 * used.
 */
import { isDeepStrictEqual } from 'node:util';
import type { HotEngineConfig } from '../config.ts';
import type { SlotKey } from '../slot-key.ts';
import type { FilterOutput, HookKind, ShapedRequest } from '../types.ts';

/** The limits of the copies that a monitored version causes. */
export type MonitorLimits = Pick<HotEngineConfig, 'maxMonitoredBodyBytes' | 'maxMonitoredCalls'>;

/** The properties of a version that a monitor reads. */
export interface MonitoredVersion {
  readonly pluginName: string;
  readonly contentHash: string;
  /** `sample` is the share of traffic that it receives, from 0 to 1. */
  readonly options: { readonly sample: number };
}

/** The output of a hook, or the error with which it failed. */
export type MonitoredAnswer =
  | {
      /** The decoded answer. */
      readonly output: unknown;
      /** Absent. */
      readonly error?: never;
    }
  | {
      /** The error of the call. */
      readonly error: unknown;
      /** Absent. */
      readonly output?: never;
    };

/** One monitored call, compared with the enforced outcome of the request. */
export interface MonitorReport {
  /** The key of the slot. */
  readonly key: SlotKey;
  /** The hook that was called. */
  readonly hook: HookKind;
  /** The content hash of the monitored version. */
  readonly contentHash: string;
  /** The answer of the monitored version. */
  readonly monitored: MonitoredAnswer;
  /** The enforced outcome: the answer of the enforcing version, or the unchanged request without one. */
  readonly enforced: MonitoredAnswer;
  /** Whether both made the same decision. */
  readonly agreed: boolean;
}

/** The counters of a monitored version. */
export interface MonitorCounts {
  /** Sampled calls with the same decision as the enforced outcome. */
  readonly agreed: number;
  /** Sampled calls with a different decision. */
  readonly differed: number;
  /** Sampled calls that failed. */
  readonly failed: number;
  /** Sampled calls that were not made: the body was too large, too many were in flight, or the request is invalid. */
  readonly skipped: number;
}

/** The monitored version of one slot. */
export class Monitor<V extends MonitoredVersion = MonitoredVersion> {
  readonly version: V;
  readonly #key: SlotKey;
  readonly #listener: (report: MonitorReport) => void;
  readonly counts = { agreed: 0, differed: 0, failed: 0, skipped: 0 };
  readonly #limits: MonitorLimits;
  /** Calls that `samples` accepted and that are not finished. */
  #inFlight = 0;

  constructor(key: SlotKey, version: V, limits: MonitorLimits, listener: (report: MonitorReport) => void) {
    this.#key = key;
    this.version = version;
    this.#limits = limits;
    this.#listener = listener;
  }

  /**
   * Returns whether a call with a body of this many bytes is copied; `run`, `skip`, or `release` must then end it.
   * Counts a sampled call that exceeds a limit.
   */
  samples(bytes: number): boolean {
    const { sample } = this.version.options;
    if (sample < 1 && Math.random() >= sample) return false;
    const { maxMonitoredBodyBytes, maxMonitoredCalls } = this.#limits;
    if (bytes > maxMonitoredBodyBytes || this.#inFlight >= maxMonitoredCalls) {
      this.counts.skipped++;
      return false;
    }
    this.#inFlight++;
    return true;
  }

  /** Ends an accepted call whose request cannot be copied, and counts it as skipped. */
  skip(): void {
    this.counts.skipped++;
    this.release();
  }

  /** Ends an accepted call that is not made, without counting it. */
  release(): void {
    this.#inFlight--;
  }

  /** Makes an accepted call and compares its answer. Never throws. */
  async run(hook: HookKind, call: () => Promise<unknown>, enforced: MonitoredAnswer): Promise<void> {
    let monitored: MonitoredAnswer;
    try {
      monitored = { output: await call() };
    } catch (error) {
      monitored = { error };
    } finally {
      this.release();
    }
    const agreed = sameDecision(hook, monitored, enforced);
    if ('error' in monitored) this.counts.failed++;
    else if (agreed) this.counts.agreed++;
    else this.counts.differed++;
    this.#listener({ key: this.#key, hook, contentHash: this.version.contentHash, monitored, enforced, agreed });
  }
}

function sameDecision(hook: HookKind, one: MonitoredAnswer, other: MonitoredAnswer): boolean {
  if ('error' in one || 'error' in other) return 'error' in one && 'error' in other;
  return isDeepStrictEqual(decisionOf(hook, one.output), decisionOf(hook, other.output));
}

/** Returns the part of an output that changes a request; the reasons of a filter do not. */
function decisionOf(hook: HookKind, output: unknown): unknown {
  if (hook === 'filter') return (output as FilterOutput).keptUpstreamIds;
  if (hook !== 'shape') return output;
  const { url, method, headers, body } = output as ShapedRequest;
  return [url.href, method, headers, Buffer.from(body.buffer, body.byteOffset, body.byteLength)];
}

/**
 * Wraps a listener: the first error that it throws or rejects with is emitted as a process warning, later ones are
 * ignored.
 */
export function guardedListener(
  listener: ((report: MonitorReport) => unknown) | undefined,
): (report: MonitorReport) => void {
  if (listener === undefined) return () => {};
  let warned = false;
  const warn = (error: unknown) => {
    if (warned) return;
    warned = true;
    const message = error instanceof Error ? error.message : 'the listener threw a value that is not an Error';
    process.emitWarning(`onMonitored failed: ${message}`, { type: 'CcLbWarning', code: 'CC_LB_ON_MONITORED' });
  };
  return (report) => {
    try {
      Promise.resolve(listener(report)).catch(warn);
    } catch (error) {
      warn(error);
    }
  };
}
