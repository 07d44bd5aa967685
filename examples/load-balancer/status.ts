/** The status for the status page and `/plugins`: the combined reports of the workers. */
import { type BreakerState, worstState } from './breaker.ts';
import type { PluginRejection } from './deployment.ts';
import { REQUESTS_TOTAL } from './metrics.ts';
import { RECENT_REQUESTS, type RequestRecord } from './record.ts';
import { type Routes, slotKeyOf } from './routes.ts';
import type { Metrics, SlotReport } from './worker.ts';
import type { MemberReport } from './workers.ts';

/** A plugin, over all workers. */
export interface PluginStatus {
  readonly plugin: string;
  /** Null is all principals. */
  readonly principal: string | null;
  readonly kind: string;
  readonly version: string;
  readonly contentHash: string;
  /** The worst state of the workers' breakers; null if the config enables none. */
  readonly breaker: BreakerState | null;
  /** Why an operator disabled it; null while it is enabled. */
  readonly disabled: string | null;
  /** Sums over the workers. */
  readonly calls: number;
  readonly failures: number;
  readonly unavailable: number;
  readonly passThroughs: number;
}

/** The contents of the status page. */
export interface Status {
  readonly isReady: boolean;
  readonly restarts: number;
  readonly workers: readonly {
    readonly pid: number;
    readonly isServing: boolean;
    readonly requestsInFlight: number;
    readonly residentBytes: number;
    readonly knownPrompts: number;
  }[];
  /** Requests by status since the program started. */
  readonly statuses: Readonly<Record<string, number>>;
  readonly requestsInFlight: number;
  readonly upstreams: readonly { readonly name: string; readonly breaker: BreakerState }[];
  readonly plugins: readonly PluginStatus[];
  /** Plugins whose last version was rejected. */
  readonly rejections: readonly PluginRejection[];
  /** The last requests with their decisions, newest first. */
  readonly recent: readonly RequestRecord[];
}

/** What the status combines. */
export interface StatusParts {
  readonly members: readonly MemberReport[];
  /** The series of each worker, and of ended ones. */
  readonly metrics: readonly Metrics[];
  readonly routes: Routes;
  readonly rejections: readonly PluginRejection[];
  readonly restarts: number;
  readonly isReady: boolean;
}

/** Combines the reports of the workers. */
export function statusOf({ members, metrics, routes, rejections, restarts, isReady }: StatusParts): Status {
  const reports = members.flatMap(({ report }) => report ?? []);
  const statuses: Record<string, number> = {};
  for (const { name, values } of metrics.flat()) {
    if (name !== REQUESTS_TOTAL) continue;
    for (const { labels, value } of values) statuses[labels.status!] = (statuses[labels.status!] ?? 0) + value;
  }
  const recent = reports.flatMap((report) => report.recent).sort((a, b) => b.endedAt - a.endedAt);
  return {
    isReady,
    restarts,
    workers: members.map(({ pid, isServing, report }) => ({
      pid,
      isServing,
      requestsInFlight: report?.requestsInFlight ?? 0,
      residentBytes: report?.residentBytes ?? 0,
      knownPrompts: report?.knownPrompts ?? 0,
    })),
    statuses,
    requestsInFlight: reports.reduce((sum, report) => sum + report.requestsInFlight, 0),
    upstreams: routes.upstreams.map(({ name }) => ({
      name,
      breaker: worstState(
        reports.flatMap((report) => report.upstreams.filter((one) => one.name === name)).map((one) => one.breaker),
      ),
    })),
    plugins: pluginsOf(members, routes),
    rejections,
    recent: recent.slice(0, RECENT_REQUESTS),
  };
}

/** Returns every deployed plugin, in listed order. */
export function pluginsOf(members: readonly MemberReport[], { plugins }: Routes): PluginStatus[] {
  const slots = members.flatMap(({ report }) => report?.slots ?? []);
  return plugins.flatMap(({ name, principal }) => {
    const key = slotKeyOf(name, principal);
    const same = slots.filter((slot) => slot.plugin === key.plugin && slot.principal === key.principal);
    const [first] = same;
    if (first === undefined) return [];
    const sum = (count: (slot: SlotReport) => number) => same.reduce((total, slot) => total + count(slot), 0);
    const breakers = same.flatMap((slot) => slot.breaker?.state ?? []);
    return {
      plugin: name,
      principal: principal ?? null,
      kind: first.kind,
      version: first.version,
      contentHash: first.contentHash,
      breaker: breakers.length === 0 ? null : worstState(breakers),
      disabled: first.disabled,
      calls: sum((slot) => slot.calls),
      failures: sum(({ failures }) => Object.values({ ...failures }).reduce((total, count) => total + count, 0)),
      unavailable: sum((slot) => slot.unavailable),
      passThroughs: sum((slot) => slot.passThroughs),
    };
  });
}
