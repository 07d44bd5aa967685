/**
 * The checks and counters of each call of a slot version: the kill switch of its key and the breaker of the version.
 */
import { type ErrorContext, PluginUnavailableError } from '../errors.ts';
import type { SlotKey } from '../slot-key.ts';
import type { KillSwitches } from './kill-switch.ts';
import { RETIRED_LABEL } from './labels.ts';
import type { CallVerdict, SlotBreaker } from './slot-breaker.ts';
import type { CallOutcome, SlotStats } from './slot-stats.ts';

/** A call that can describe its context for errors. */
interface Described {
  context(): ErrorContext;
}

/** The guard of one slot version. */
export class VersionGuard {
  readonly key: SlotKey;
  readonly switches: KillSwitches;
  /** Null if the config disables breakers. */
  readonly breaker: SlotBreaker | null;
  readonly stats: SlotStats;

  constructor(key: SlotKey, switches: KillSwitches, breaker: SlotBreaker | null, stats: SlotStats) {
    this.key = key;
    this.switches = switches;
    this.breaker = breaker;
    this.stats = stats;
  }

  /** The `plugin` label for a call of the version that was registered as `name`. */
  label(name: string): string {
    const { label, previousLabel } = this.stats;
    return name === label || name === previousLabel ? name : RETIRED_LABEL;
  }

  /** Admits a call of `principal`. Returns its start time for `exit`. Throws PluginUnavailableError. */
  enter(principal: string, call: Described): number {
    if (this.switches.engaged) this.#checkEnabled(call);
    const { breaker } = this;
    if (breaker === null) return 0;
    const waitMs = breaker.enter(principal);
    if (waitMs > 0) throw this.#unavailable(openError(waitMs, call));
    return breaker.began;
  }

  /**
   * Throws PluginUnavailableError if an admitted call's plugin was disabled or its breaker opened while the call
   * waited.
   */
  recheck(began: number, principal: string, call: Described): void {
    if (this.switches.engaged) this.#checkEnabled(call);
    const waitMs = this.breaker?.waitOf(began, principal) ?? 0;
    if (waitMs > 0) throw this.#unavailable(openError(waitMs, call));
  }

  /** Counts the end of a call that `enter` admitted, and the seconds that it spent in the guest. */
  exit(began: number, principal: string, outcome: CallOutcome, seconds: number): void {
    this.stats.count(outcome);
    const { breaker } = this;
    if (breaker === null) return;
    // A starved call used little of its time, because the machine was busy.
    const counted = Number.isNaN(seconds) || outcome === 'starved' ? 0 : seconds;
    breaker.exit(began, principal, VERDICTS[outcome], counted);
  }

  #checkEnabled(call: Described): void {
    const reason = this.switches.reason(this.key);
    if (reason !== undefined)
      throw this.#unavailable(new PluginUnavailableError('disabled', reason, null, call.context()));
  }

  #unavailable(error: PluginUnavailableError): PluginUnavailableError {
    this.stats.unavailable++;
    return error;
  }
}

/** How the breaker counts each outcome. */
const VERDICTS: Readonly<Record<CallOutcome, CallVerdict>> = {
  success: 'success',
  trap: 'failure',
  expired: 'failure',
  'invalid-answer': 'failure',
  'instantiate-failed': 'failure',
  starved: 'none',
  saturated: 'none',
  none: 'none',
};

function openError(waitMs: number, call: Described): PluginUnavailableError {
  return new PluginUnavailableError('breaker-open', 'its calls failed too often', Math.ceil(waitMs), call.context());
}
