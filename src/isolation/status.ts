/** The status of a slot for operators. */
import type { SlotKey } from '../slot-key.ts';
import type { SlotKind } from '../types.ts';
import type { BreakerState } from './breaker.ts';
import type { VersionGuard } from './guard.ts';
import type { Monitor, MonitorCounts } from './monitor.ts';
import type { FailureCounts, Refusal } from './slot-stats.ts';

/** A snapshot of a slot. Counters start at the slot's first registration and include all of its versions. */
export interface SlotStatus {
  /** The key of the slot. */
  readonly key: SlotKey;
  /** The kind of the slot. */
  readonly kind: SlotKind;
  /** The name under which the current version was registered. It may contain any characters. */
  readonly pluginName: string;
  /** The number of the current version. */
  readonly versionId: number;
  /** The content hash of the current version. */
  readonly contentHash: string;
  /** `enforce` if the slot has an enforcing version, `monitor` if it has only a monitored one. */
  readonly enforcement: 'enforce' | 'monitor';
  /** The monitored version; null without one. */
  readonly monitor: MonitorStatus | null;
  /** The breaker of the current version; null if the config disables breakers. */
  readonly breaker: {
    /** The state for all callers. */
    readonly state: BreakerState;
    /** Calling principals for which a global slot's breaker is not closed. */
    readonly openPrincipals: number;
  } | null;
  /** The reason with which an operator disabled the key; null while it is enabled. */
  readonly disabled: string | null;
  /** Admitted calls, with any outcome. */
  readonly calls: number;
  /** Failed calls by kind. */
  readonly failures: FailureCounts;
  /** Calls that the breaker or the kill switch rejected. */
  readonly unavailable: number;
  /** Failures after which a request passed through unchanged. */
  readonly passThroughs: number;
  /** Events of `observeQueued` that were dropped, because the queue was full. */
  readonly droppedEvents: number;
  /** Size in bytes of the largest memory at the end of a call of the current content. */
  readonly highestMemoryBytes: number;
  /** Rejected registrations on this slot. */
  readonly refusals: number;
  /** The last rejected registration. Its reason may contain text of the rejected module. */
  readonly lastRefusal: Refusal | null;
}

/** The monitored version of a slot. */
export interface MonitorStatus extends MonitorCounts {
  /** The name under which it was registered. */
  readonly pluginName: string;
  /** Its content hash. */
  readonly contentHash: string;
}

/** The sources of the status of a slot. */
export interface StatusSource {
  readonly key: SlotKey;
  readonly kind: SlotKind;
  readonly version: {
    readonly pluginName: string;
    readonly versionId: number;
    readonly contentHash: string;
    readonly options: { readonly enforcement: 'enforce' | 'monitor' };
    readonly guard: VersionGuard;
    readonly module: { highestMemoryBytes(): number };
  };
}

/** Returns the current status of a slot. */
export function statusOf({ key, kind, version }: StatusSource): SlotStatus {
  const { pluginName, versionId, contentHash, options, guard, module } = version;
  const { breaker, stats } = guard;
  return {
    key,
    kind,
    pluginName,
    versionId,
    contentHash,
    enforcement: options.enforcement,
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
