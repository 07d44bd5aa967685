/** What is kept per slot, over its versions. */
import type { Monitor } from './monitor.ts';

/**
 * How a call ended. `none`: nothing can be said of the plugin, because the call was aborted, met the end of the stack, or
 * failed by its caller's fault.
 */
export type CallOutcome =
  | 'success'
  | 'trap'
  | 'expired'
  | 'starved'
  | 'invalid-answer'
  | 'instantiate-failed'
  | 'saturated'
  | 'none';

/** Failed calls by kind. */
export interface FailureCounts {
  /** Calls that trapped, expiries aside. */
  readonly trap: number;
  /** Calls that outlived their deadline. */
  readonly expired: number;
  /** Calls that outlived their deadline while their thread got little CPU time: the machine was busy. */
  readonly starved: number;
  /** Answers that do not decode or break a rule of the contract. */
  readonly invalidAnswer: number;
  /** Start functions that trapped or expired. */
  readonly instantiateFailed: number;
  /** Calls that met a limit of the runtime. */
  readonly saturated: number;
}

/** A registration that was refused. */
export interface Refusal {
  /** The code of its error. */
  readonly code: string;
  /** The message of its error. */
  readonly reason: string;
  /** When, in milliseconds since the Unix epoch. */
  readonly at: number;
}

/** The counters of one slot. */
export class SlotStats {
  /** The `plugin` label of the slot's metrics: the name of its current version; null after the eviction. */
  label: string | null;
  /** The label before, which calls of pinned adapters may still have; null if there was none. */
  previousLabel: string | null = null;
  /** The monitored version of the slot, which registrations put there; null without one. */
  monitor: Monitor | null = null;
  calls = 0;
  /** Calls that the breaker or the kill switch refused. */
  unavailable = 0;
  /** Failures after which the request went on as if the plugin were not there. */
  passThroughs = 0;
  readonly failures = { trap: 0, expired: 0, starved: 0, invalidAnswer: 0, instantiateFailed: 0, saturated: 0 };
  /** Queued events that were dropped because a queue was full. */
  droppedEvents = 0;
  refusals = 0;
  lastRefusal: Refusal | null = null;

  constructor(label: string) {
    this.label = label;
  }

  /** Counts one call. */
  count(outcome: CallOutcome): void {
    this.calls++;
    if (outcome !== 'success' && outcome !== 'none') this.failures[FIELD[outcome]]++;
  }

  /** Counts a refused registration. */
  refuse(code: string, reason: string): void {
    this.refusals++;
    this.lastRefusal = { code, reason, at: Date.now() };
  }
}

const FIELD = {
  trap: 'trap',
  expired: 'expired',
  starved: 'starved',
  'invalid-answer': 'invalidAnswer',
  'instantiate-failed': 'instantiateFailed',
  saturated: 'saturated',
} as const;
