/** The counters of a slot, over all of its versions. */

import { HOOK_KINDS } from '../types.ts';
import type { Monitor } from './monitor.ts';
import { Placement } from './placement.ts';

/**
 * How a call ended. `none`: the outcome does not concern the plugin, because the call was aborted, exhausted the
 * caller's stack, or failed because of its caller.
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
  /** Calls that trapped, except at their deadline. */
  readonly trap: number;
  /** Calls that exceeded their deadline. */
  readonly expired: number;
  /** Calls that exceeded their deadline while their thread received little CPU time, because the machine was busy. */
  readonly starved: number;
  /** Answers that do not decode or break a rule of the contract. */
  readonly invalidAnswer: number;
  /** Instantiations whose start function trapped or expired. */
  readonly instantiateFailed: number;
  /** Calls that exceeded a limit of the runtime. */
  readonly saturated: number;
}

/** A rejected registration. */
export interface Refusal {
  /** The code of its error. */
  readonly code: string;
  /** The message of its error. */
  readonly reason: string;
  /** The time of the rejection, in milliseconds since the Unix epoch. */
  readonly at: number;
}

/** The counters of one slot. */
export class SlotStats {
  /**
   * Where asynchronous calls of each hook run, indexed by hook number. Versions share them: a swap must not allow a plugin
   * to block the event loop again.
   */
  readonly placements: readonly Placement[] = HOOK_KINDS.map(() => new Placement());
  /** The `plugin` label of the slot's metrics: the name of its current version; null after the eviction. */
  label: string | null;
  /** The previous label, which calls of pinned adapters may still have; null without one. */
  previousLabel: string | null = null;
  /** The monitored version of the slot; null without one. Registrations set it. */
  monitor: Monitor | null = null;
  calls = 0;
  /** Calls that the breaker or the kill switch rejected. */
  unavailable = 0;
  /** Failures after which the request passed through unchanged. */
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

  /** Counts a rejected registration. */
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
