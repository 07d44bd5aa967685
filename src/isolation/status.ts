/** What an operator sees of a slot. */
import type { SlotKey } from '../slot-key.ts';
import type { SlotKind } from '../types.ts';
import type { BreakerState } from './breaker.ts';
import type { VersionGuard } from './guard.ts';
import type { Monitor, MonitorCounts } from './monitor.ts';
import type { FailureCounts, Refusal } from './slot-stats.ts';

/** The state of a slot at one moment. Counters run since the slot's first registration, over all of its versions. */
export interface SlotStatus {
  readonly key: SlotKey;
  readonly kind: SlotKind;
  /** The name under which the current version was registered. It may hold any characters. */
  readonly pluginName: string;
  readonly versionId: number;
  readonly contentHash: string;
  /** Whether the slot has an enforcing version, or a monitored one alone. */
  readonly enforcement: 'enforce' | 'monitor';
  /** The monitored version; null without one. */
  readonly monitor: ({ readonly pluginName: string; readonly contentHash: string } & MonitorCounts) | null;
  /** Of the current version; null where the config enables none. */
  readonly breaker: {
    /** For all callers. */
    readonly state: BreakerState;
    /** Calling principals for which a global slot's breaker is not closed. */
    readonly openPrincipals: number;
  } | null;
  /** The reason with which an operator disabled the key; null while it is enabled. */
  readonly disabled: string | null;
  /** Calls that were let through, however they ended. */
  readonly calls: number;
  readonly failures: FailureCounts;
  /** Calls that the breaker or the kill switch refused. */
  readonly unavailable: number;
  /** Failures after which a request went on as if the plugin were not there. */
  readonly passThroughs: number;
  /** Events of `observeQueued` that were dropped, because the queue was full. */
  readonly droppedEvents: number;
  /** Bytes of the largest memory that a call of the current content left. */
  readonly highestMemoryBytes: number;
  /** Registrations on this slot that were refused. */
  readonly refusals: number;
  /** The last of them. Its reason may hold text of the refused module. */
  readonly lastRefusal: Refusal | null;
}

/** The sources of the status of a slot. */
export interface StatusSource {
  readonly key: SlotKey;
  readonly kind: SlotKind;
  readonly version: {
    readonly pluginName: string;
    readonly versionId: number;
    readonly contentHash: string;
    readonly enforcement: 'enforce' | 'monitor';
    readonly guard: VersionGuard;
    readonly module: { highestMemoryBytes(): number };
  };
}

/** The status of a slot now. */
export function statusOf({ key, kind, version }: StatusSource): SlotStatus {
  const { pluginName, versionId, contentHash, enforcement, guard, module } = version;
  const { breaker, stats } = guard;
  return {
    key,
    kind,
    pluginName,
    versionId,
    contentHash,
    enforcement,
    monitor: monitorStatus(stats.monitor),
    breaker: breaker === null ? null : { state: breaker.state, openPrincipals: breaker.openPrincipals },
    disabled: guard.switches.reason(key) ?? null,
    calls: stats.calls,
    failures: { ...stats.failures },
    unavailable: stats.unavailable,
    passThroughs: stats.passThroughs,
    droppedEvents: stats.droppedEvents,
    highestMemoryBytes: module.highestMemoryBytes(),
    refusals: stats.refusals,
    lastRefusal: stats.lastRefusal,
  };
}

function monitorStatus(monitor: Monitor | null): SlotStatus['monitor'] {
  if (monitor === null) return null;
  const { pluginName, contentHash } = monitor.version;
  return { pluginName, contentHash, ...monitor.counts };
}
