/**
 * Events on `node:diagnostics_channel`, for loggers and tracers. docs/diagnostics.md lists the names and fields. An
 * event is built only for a channel that has subscribers. Node calls subscribers synchronously and reports what they
 * throw as an uncaught exception.
 */
import { channel, tracingChannel } from 'node:diagnostics_channel';
import type { ErrorContext, SaturatedResource } from './errors.ts';
import type { BreakerCause, BreakerState } from './isolation/breaker.ts';
import type { SlotKey } from './slot-key.ts';
import type { Slot } from './slots.ts';
import type { HookKind, SlotKind } from './types.ts';

const PREFIX = 'cc-lb-runtime-wasmtime';
const admission = channel(`${PREFIX}:admission`);
const swap = channel(`${PREFIX}:swap`);
const eviction = channel(`${PREFIX}:eviction`);
const trap = channel(`${PREFIX}:trap`);
const saturation = channel(`${PREFIX}:saturation`);
const breaker = channel(`${PREFIX}:breaker`);
const killSwitch = channel(`${PREFIX}:kill-switch`);
const droppedHeader = channel(`${PREFIX}:dropped-header`);
const call = tracingChannel<object, CallEvent>(`${PREFIX}:call`);
const { start, end, asyncStart, asyncEnd, error } = call;

/** The plugin and hook that an event concerns; unknown fields are undefined. */
export interface EventSubject {
  /** The name under which the plugin is registered; for `admitWasm`, its own. */
  readonly plugin: string | undefined;
  /** The principal of the slot's key. */
  readonly principal: string | undefined;
  /** The version of the slot. */
  readonly versionId: number | undefined;
  /** The hook. */
  readonly hook: HookKind | undefined;
}

/** A module was admitted or rejected. */
export interface AdmissionEvent {
  /** The name that is registered; for `admitWasm`, the plugin's own, undefined if the module was rejected. */
  readonly plugin: string | undefined;
  /** The principal of the key; undefined for `admitWasm`. */
  readonly principal: string | undefined;
  /** The hook that had to be declared. */
  readonly kind: HookKind | undefined;
  /** The content hash of the module, 64 lower-case hex digits; undefined for a rejected module. */
  readonly contentHash: string | undefined;
  /** The error of a rejected module. */
  readonly error: unknown;
}

/** A version became the current one of its slot. */
export interface SwapEvent {
  /** The name under which the version was registered. */
  readonly plugin: string;
  /** The principal of the slot's key. */
  readonly principal: string;
  /** The kind of the slot. */
  readonly kind: SlotKind;
  /** The version that is current now. */
  readonly versionId: number;
  /** The version that it replaces; undefined for the first of a slot. */
  readonly previousVersionId: number | undefined;
  /** The content hash of the version that is current now. */
  readonly contentHash: string;
}

/** A slot was evicted. */
export interface EvictionEvent {
  /** The name under which the current version was registered. */
  readonly plugin: string;
  /** The principal of the slot's key. */
  readonly principal: string;
  /** The kind of the slot. */
  readonly kind: SlotKind;
  /** The version that was current. */
  readonly versionId: number;
}

/** A guest trapped or exceeded its deadline, or its answer was rejected. */
export interface TrapEvent extends EventSubject {
  /** As in the metric: `cc_lb_alloc`, `memory.write`, an export, or `reject`. */
  readonly phase: string;
  /** wasmtime's name of the trap in kebab-case; undefined if the answer was rejected. */
  readonly trap: string | undefined;
}

/** A call or an admission was rejected because a limit was reached. */
export interface SaturationEvent extends EventSubject {
  /** The resource whose limit was reached. */
  readonly resource: SaturatedResource;
}

/** The breaker of a version changed its state. */
export interface BreakerEvent {
  /** The name under which the version was registered. */
  readonly plugin: string;
  /** The principal of the slot. */
  readonly principal: string;
  /** The calling principal that the change concerns; null for all. */
  readonly caller: string | null;
  /** The new state. */
  readonly state: BreakerState;
  /** Why the state changed. */
  readonly cause: BreakerCause;
}

/** An operator disabled or enabled a key. */
export interface KillSwitchEvent {
  /** The key's plugin. */
  readonly plugin: string;
  /** The key's principal. */
  readonly principal: string;
  /** The reason of `disable`; null for `enable`. */
  readonly reason: string | null;
}

/** A header line of a shape's answer was dropped, because only the load balancer sets it. */
export interface DroppedHeaderEvent extends EventSubject {
  /** The name of the header, in lower case. */
  readonly name: string;
}

/** The context of one call on the tracing channel. Node adds `result` or `error`. */
export interface CallEvent extends EventSubject {
  /** `inline` ran on the calling thread, `thread` on another. */
  readonly where: 'inline' | 'thread';
}

/** Builds the fields that identify a call when an event needs them. */
interface Subject {
  readonly context: () => ErrorContext;
}

function subjectOf(target: Subject | undefined): EventSubject {
  const { plugin, principal, versionId, hook } = target?.context() ?? {};
  return { plugin, principal, versionId, hook: hook as HookKind | undefined };
}

/** Whether the tracing channel has subscribers. Without any, calls create no closure. */
export function isCallTraced(): boolean {
  return (
    start.hasSubscribers ||
    end.hasSubscribers ||
    error.hasSubscribers ||
    asyncStart.hasSubscribers ||
    asyncEnd.hasSubscribers
  );
}

/** Traces a call on this thread. */
export function traceInline<T>(target: Subject, run: () => T): T {
  return call.traceSync(run, { ...subjectOf(target), where: 'inline' });
}

/** Traces an off-thread call. */
export function traceThreaded<T>(target: Subject, run: () => Promise<T>): Promise<T> {
  return call.tracePromise(run, { ...subjectOf(target), where: 'thread' });
}

/**
 * Traces a call that starts on this thread as one call, even if `run` returns a promise because it is repeated off it.
 */
export function traceSliced<T>(target: Subject, run: () => T | Promise<T>): Promise<T> {
  const context: { where: CallEvent['where'] } & EventSubject = { ...subjectOf(target), where: 'inline' };
  return call.tracePromise(async () => {
    const result = run();
    if (result instanceof Promise) context.where = 'thread';
    return result;
  }, context);
}

/** The facts of an admission before it starts: for a registration, its name and principal. */
interface AdmissionFacts {
  readonly plugin?: string;
  readonly principal?: string;
  readonly kind: HookKind | undefined;
}

/** The result of an admission that events report. */
interface Admitted {
  readonly contentHash: string;
  readonly metadata: { readonly name: string };
}

/** Reports the outcome of an admission on this thread. */
export function reportAdmission<T extends Admitted>(facts: AdmissionFacts, run: () => T): T {
  let admitted: T;
  try {
    admitted = run();
  } catch (error) {
    publishAdmission(facts, undefined, error);
    throw error;
  }
  publishAdmission(facts, admitted, undefined);
  return admitted;
}

/** Reports the outcome of an off-thread admission: its failure, or a module that `isNew`. */
export async function reportAdmissionAsync<T extends Admitted>(
  facts: AdmissionFacts,
  admitted: Promise<T>,
  isNew: (module: T) => boolean = () => true,
): Promise<T> {
  try {
    const module = await admitted;
    if (isNew(module)) publishAdmission(facts, module, undefined);
  } catch (error) {
    publishAdmission(facts, undefined, error);
  }
  return admitted;
}

function publishAdmission(facts: AdmissionFacts, admitted: Admitted | undefined, error: unknown): void {
  if (!admission.hasSubscribers) return;
  const { plugin = admitted?.metadata.name, principal, kind } = facts;
  const contentHash = admitted?.contentHash;
  admission.publish({ plugin, principal, kind, contentHash, error } satisfies AdmissionEvent);
}

/** Reports a slot's new current version, and the version that it replaces. */
export function publishSwap({ kind, version }: Slot, previousVersionId: number | undefined): void {
  if (!swap.hasSubscribers) return;
  const { pluginName: plugin, principal, versionId, contentHash } = version;
  swap.publish({ plugin, principal, kind, versionId, previousVersionId, contentHash } satisfies SwapEvent);
}

/** Reports an evicted slot. */
export function publishEviction({ kind, version }: Slot): void {
  if (!eviction.hasSubscribers) return;
  const { pluginName: plugin, principal, versionId } = version;
  eviction.publish({ plugin, principal, kind, versionId } satisfies EvictionEvent);
}

/** Reports a trap, or with phase `reject` a rejected answer. */
export function publishTrap(target: Subject, phase: string, name: string | null): void {
  if (!trap.hasSubscribers) return;
  trap.publish({ ...subjectOf(target), phase, trap: name ?? undefined } satisfies TrapEvent);
}

/** Reports that a limit was reached. */
export function publishSaturation(resource: SaturatedResource, target?: Subject): void {
  if (!saturation.hasSubscribers) return;
  saturation.publish({ ...subjectOf(target), resource } satisfies SaturationEvent);
}

/** Whether the channel of dropped headers has subscribers. Without any, dropped headers are not collected. */
export function areDroppedHeadersWatched(): boolean {
  return droppedHeader.hasSubscribers;
}

/** Reports each header line that was dropped from a shape's answer. */
export function publishDroppedHeaders(target: Subject, names: readonly string[]): void {
  const subject = subjectOf(target);
  for (const name of names) droppedHeader.publish({ ...subject, name } satisfies DroppedHeaderEvent);
}

/** Reports that the breaker of a version changed its state. */
export function publishBreaker(event: BreakerEvent): void {
  if (breaker.hasSubscribers) breaker.publish(event);
}

/** Reports that a key was disabled or enabled. */
export function publishKillSwitch({ plugin, principal }: SlotKey, reason: string | null): void {
  if (killSwitch.hasSubscribers) killSwitch.publish({ plugin, principal, reason } satisfies KillSwitchEvent);
}
