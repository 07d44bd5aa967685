/** A monitored version: it gets a copy of sampled traffic, off the requests' path, and its answers are only compared. */
import { isDeepStrictEqual } from 'node:util';
import type { SlotKey } from '../slot-key.ts';

import type { FilterOutput, HookKind, ShapedRequest } from '../types.ts';

/** A larger body is not copied for a monitored version. */
const MAX_COPIED_BYTES = 1024 * 1024;
/** Monitored calls of one slot that may run or wait. */
const MAX_IN_FLIGHT = 32;

/** What a monitor knows of its version. */
export interface MonitoredVersion {
  readonly pluginName: string;
  readonly contentHash: string;
  /** The share of traffic that it sees, from 0 to 1. */
  readonly sample: number;
}

/** How a hook answered: with its output, or with the error that it failed with. */
export type MonitoredAnswer =
  | { readonly output: unknown; readonly error?: never }
  | { readonly error: unknown; readonly output?: never };

/** One monitored call beside what was done for the request. */
export interface MonitorReport {
  readonly key: SlotKey;
  readonly hook: HookKind;
  /** The content hash of the monitored version. */
  readonly contentHash: string;
  /** What the monitored version would have done. */
  readonly monitored: MonitoredAnswer;
  /** What was done: the answer of the enforcing version, or the request as it came where there is none. */
  readonly enforced: MonitoredAnswer;
  /** Whether both decide the same. */
  readonly agreed: boolean;
}

/** The counters of a monitored version. */
export interface MonitorCounts {
  /** Sampled calls whose decision was the same as what was done. */
  readonly agreed: number;
  /** Sampled calls whose decision differs. */
  readonly differed: number;
  /** Sampled calls that failed. */
  readonly failed: number;
  /** Sampled calls that were not made: too large a body, or too many in flight. */
  readonly skipped: number;
}

/** A version that is monitored in one slot. */
export class Monitor<V extends MonitoredVersion = MonitoredVersion> {
  readonly version: V;
  readonly #key: SlotKey;
  readonly #listener: (report: MonitorReport) => void;
  readonly counts = { agreed: 0, differed: 0, failed: 0, skipped: 0 };
  #inFlight = 0;

  constructor(key: SlotKey, version: V, listener: (report: MonitorReport) => void) {
    this.#key = key;
    this.version = version;
    this.#listener = listener;
  }

  /** Whether a call with a body of so many bytes is copied. */
  samples(bytes: number): boolean {
    const { sample } = this.version;
    if (sample < 1 && Math.random() >= sample) return false;
    if (bytes <= MAX_COPIED_BYTES && this.#inFlight < MAX_IN_FLIGHT) return true;
    this.skip();
    return false;
  }

  /** Counts a sampled call that is not made. */
  skip(): void {
    this.counts.skipped++;
  }

  /** Makes the monitored call and compares its answer. Never throws. */
  async run(hook: HookKind, call: () => Promise<unknown>, enforced: MonitoredAnswer): Promise<void> {
    this.#inFlight++;
    let monitored: MonitoredAnswer;
    try {
      monitored = { output: await call() };
    } catch (error) {
      monitored = { error };
    } finally {
      this.#inFlight--;
    }
    const agreed = sameDecision(hook, monitored, enforced);
    if (monitored.output === undefined && 'error' in monitored) this.counts.failed++;
    else if (agreed) this.counts.agreed++;
    else this.counts.differed++;
    this.#listener({ key: this.#key, hook, contentHash: this.version.contentHash, monitored, enforced, agreed });
  }
}

function sameDecision(hook: HookKind, one: MonitoredAnswer, other: MonitoredAnswer): boolean {
  if ('error' in one || 'error' in other) return 'error' in one && 'error' in other;
  return isDeepStrictEqual(decisionOf(hook, one.output), decisionOf(hook, other.output));
}

/** What of an output changes a request: the reasons of a filter do not. */
function decisionOf(hook: HookKind, output: unknown): unknown {
  if (hook === 'filter') return (output as FilterOutput).keptUpstreamIds;
  if (hook !== 'shape') return output;
  const { url, method, headers, body } = output as ShapedRequest;
  return [url.href, method, headers, Buffer.from(body.buffer, body.byteOffset, body.byteLength)];
}

/** The listener with what it throws, or rejects with, turned into one process warning. */
export function guardedListener(
  listener: ((report: MonitorReport) => unknown) | undefined,
): (report: MonitorReport) => void {
  if (listener === undefined) return () => {};
  let warned = false;
  const warn = (error: unknown) => {
    if (warned) return;
    warned = true;
    const message = error instanceof Error ? error.message : 'it threw no error';
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
