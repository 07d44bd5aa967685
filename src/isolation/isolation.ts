/**
 * Isolates the plugins of one runtime from each other: kill switches, a guard per slot version, and a bounded number of
 * series.
 */
import { publishBreaker } from '../diagnostics.ts';
import { SlotNotFoundError } from '../errors.ts';
import type { MetricsSink } from '../metrics/sink.ts';
import { isPluginFailure } from '../policy/failure.ts';
import { GLOBAL_PRINCIPAL, type SlotKey } from '../slot-key.ts';
import type { Slot } from '../slots.ts';
import type { Version } from '../versions.ts';
import type { BreakerOptions } from './breaker.ts';
import { VersionGuard } from './guard.ts';
import { KillSwitches } from './kill-switch.ts';
import { Labels } from './labels.ts';
import { type BreakerChange, SlotBreaker } from './slot-breaker.ts';
import { SlotStats } from './slot-stats.ts';

/** The isolation of one runtime. */
export class Isolation {
  readonly switches = new KillSwitches();
  readonly #breaker: BreakerOptions;
  readonly #metrics: Required<MetricsSink>;
  readonly #labels = new Labels();

  constructor(breaker: BreakerOptions, metrics: Required<MetricsSink>) {
    this.#breaker = breaker;
    this.#metrics = metrics;
  }

  /** Creates the guard of a new version of `slot`, or of the first version under `key`. Its breaker is closed. */
  newGuard(key: SlotKey, name: string, slot: Slot | undefined): VersionGuard {
    const stats = slot?.version.guard.stats ?? new SlotStats(name);
    const perPrincipal = key.principal === GLOBAL_PRINCIPAL;
    const changed = ({ state, cause, principal }: BreakerChange) =>
      publishBreaker({ plugin: name, principal: key.principal, caller: principal, state, cause });
    const breaker = this.#breaker.enabled ? new SlotBreaker(this.#breaker, perPrincipal, changed) : null;
    return new VersionGuard(key, this.switches, breaker, stats);
  }

  /** Records that a slot received its first version or a monitored one. */
  registered({ pluginName }: Version): void {
    this.#labels.acquire(pluginName);
  }

  /** Records that a slot received another version. */
  swapped({ key, version }: Slot): void {
    const { pluginName, guard } = version;
    const { stats } = guard;
    if (stats.label === pluginName) return;
    this.#labels.acquire(pluginName);
    this.#forget(key, stats.previousLabel);
    stats.previousLabel = stats.label;
    stats.label = pluginName;
  }

  /** Records that a slot was evicted, or that its monitored version was dropped. */
  evicted(key: SlotKey, { guard }: Version): void {
    const { stats } = guard;
    this.#forget(key, stats.previousLabel);
    this.#forget(key, stats.label);
    stats.previousLabel = null;
    stats.label = null;
  }

  /** Counts a registration that failed with `error`. One that was evicted while it was pending is not rejected. */
  rejected(slot: Slot | undefined, error: unknown): void {
    if (!isPluginFailure(error) || error instanceof SlotNotFoundError) return;
    slot?.version.guard.stats.refuse(error.code, error.message);
    this.#metrics.refusal(error.code);
  }

  #forget(key: SlotKey, label: string | null): void {
    if (label !== null) this.#metrics.forget(key, this.#labels.release(label) ? label : null);
  }
}
