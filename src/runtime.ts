/** The runtime: puts the rooms together. */

import * as z from 'zod';
import { accessOf, grantAccess } from './access.ts';
import { type AdmittedModule, admit, admitAsync, contentHashOf } from './admission/admit.ts';
import {
  type HotEngineConfig,
  type HotEngineConfigInput,
  parseArgument,
  virtualMemoryReservationBytes,
} from './config.ts';
import { publishEviction, publishSwap, reportAdmission, reportAdmissionAsync } from './diagnostics.ts';
import { unlessAborted } from './dispatch/abort.ts';
import { Dispatcher } from './dispatch/call.ts';
import { queueLength } from './dispatch/queue.ts';
import { RawCall } from './dispatch/raw-call.ts';
import { buildHotEngine, type HotEngine } from './engine.ts';
import { InvalidArgumentError, ModuleRejectedError, SlotNotFoundError } from './errors.ts';
import { Isolation } from './isolation/isolation.ts';
import { guardedSink, type MetricsSink, publishPoolMetrics } from './metrics/sink.ts';
import { native } from './native/addon.ts';
import { KeyMap, keyOf, type SlotKey } from './slot-key.ts';
import { checkSlotKind, noSlotAt, type PluginSlot, Slot } from './slots.ts';
import type { SlotKind } from './types.ts';
import { checkBytes } from './validate.ts';
import {
  type AsyncSlotOptions,
  asyncSlotOptionsSchema,
  hasOptions,
  newCell,
  type SlotOptions,
  slotOptionsSchema,
  type VersionOptions,
  versionOptions,
} from './versions.ts';

/** What a runtime takes besides its config. */
export interface RuntimeOptions {
  /** Where its measurements go. */
  readonly metrics?: MetricsSink | undefined;
  /** Runtimes of different groups never share an engine. */
  readonly engineGroup?: string | undefined;
}

/** Counts of one moment. */
export interface RuntimeStats {
  readonly slots: number;
  /** Calls of this runtime that run or wait off this thread. */
  readonly inFlight: number;
  /** Calls of this JavaScript thread that wait for a place off it. */
  readonly queued: number;
  /** The engine's own counts; an engine may be shared with other runtimes and threads. */
  readonly engine: ReturnType<HotEngine['native']['stats']>;
}

/** Whether guests can still be run safely. */
export interface RuntimeHealth {
  readonly ok: boolean;
  /** What is wrong, a sentence each. */
  readonly problems: readonly string[];
}

/** The sink is looked at by its guard. */
const runtimeOptionsSchema = z.strictObject({
  metrics: z.custom<MetricsSink>(() => true).optional(),
  engineGroup: z.string().optional(),
});

/** Registrations off this thread that wait for their turn on one key, and what has overtaken them since. */
interface Pending {
  last: Promise<unknown>;
  waiting: number;
  evictions: number;
  overtakes: number;
}

/** Admits plugins, keeps them in slots and calls them. Closes with `close()` or `using`. */
export class WasmtimeRuntime {
  readonly #engine: HotEngine;
  readonly #dispatcher: Dispatcher;
  readonly #metrics: Required<MetricsSink>;
  readonly #slots = new KeyMap<Slot>();
  readonly #pending = new KeyMap<Pending>();
  readonly #isolation: Isolation;

  /**
   * Builds the engine of `config`, or shares the process's engine of equal options.
   * Throws InvalidArgument for a bad field of the config and EngineInit where the engine cannot be had.
   */
  constructor(config?: HotEngineConfigInput, options: RuntimeOptions = {}) {
    const { metrics, engineGroup } = parseArgument(runtimeOptionsSchema, options, 'options');
    this.#metrics = guardedSink(metrics, 'options.metrics');
    this.#engine = buildHotEngine(config, engineGroup ?? null);
    this.#isolation = new Isolation(this.#engine.config.breaker, this.#metrics);
    this.#dispatcher = new Dispatcher(this.#engine.config, this.#metrics);
    grantAccess(this, {
      engine: this.#engine,
      dispatcher: this.#dispatcher,
      slot: (key) => this.#slots.get(key),
    });
  }

  /** The complete config, frozen. */
  get config(): HotEngineConfig {
    return this.#engine.config;
  }

  /**
   * Admits `bytes` and puts them into the slot of `key`, as its first or its next version; the same content under the
   * same options returns the slot as it is. A refused module leaves the old version serving.
   * Throws ModuleRejected, ModuleCompile, InstantiateFailed, ProbeFailed, PoolSaturated, InvalidArgument or Closed.
   */
  registerFilter(key: SlotKey, name: string, bytes: Uint8Array, options?: SlotOptions): PluginSlot {
    return this.#register('filter', key, name, bytes, options);
  }

  /** Like `registerFilter`, for a shape plugin and its transforms. */
  registerShape(key: SlotKey, name: string, bytes: Uint8Array, options?: SlotOptions): PluginSlot {
    return this.#register('shape', key, name, bytes, options);
  }

  /** Like `registerFilter`, for an observe plugin. */
  registerObserve(key: SlotKey, name: string, bytes: Uint8Array, options?: SlotOptions): PluginSlot {
    return this.#register('observe', key, name, bytes, options);
  }

  /**
   * Like `registerFilter`, off this thread. Registrations on one key apply in the order of their calls. One that is
   * overtaken by an eviction rejects as evicted; one that is overtaken by a synchronous registration resolves with the
   * slot as it is then. Rejects with `signal.reason` when aborted.
   */
  registerFilterAsync(key: SlotKey, name: string, bytes: Uint8Array, options?: AsyncSlotOptions): Promise<PluginSlot> {
    return this.#registerAsync('filter', key, name, bytes, options);
  }

  /** Like `registerFilterAsync`, for a shape plugin and its transforms. */
  registerShapeAsync(key: SlotKey, name: string, bytes: Uint8Array, options?: AsyncSlotOptions): Promise<PluginSlot> {
    return this.#registerAsync('shape', key, name, bytes, options);
  }

  /** Like `registerFilterAsync`, for an observe plugin. */
  registerObserveAsync(key: SlotKey, name: string, bytes: Uint8Array, options?: AsyncSlotOptions): Promise<PluginSlot> {
    return this.#registerAsync('observe', key, name, bytes, options);
  }

  /** The slot under `key`, if one is registered. */
  getSlot(key: SlotKey): PluginSlot | undefined {
    return this.#slots.get(keyOf(key));
  }

  /** Takes the slot under `key` out of service; true if there was one. Adapters that hold its version go on. */
  evictSlot(key: SlotKey): boolean {
    const at = keyOf(key);
    const pending = this.#pending.get(at);
    if (pending !== undefined) pending.evictions++;
    const slot = this.#slots.get(at);
    if (slot === undefined) return false;
    slot.evict();
    this.#slots.delete(at);
    this.#isolation.evicted(slot);
    publishEviction(slot);
    return true;
  }

  /**
   * Evicts every slot whose key is not in `keep`, and returns their keys. Registrations that are under way on other keys
   * reject as evicted. To be called after the new view is published.
   */
  retainSlots(keep: Iterable<SlotKey>): SlotKey[] {
    if (typeof (keep as Iterable<SlotKey> | undefined)?.[Symbol.iterator] !== 'function') {
      throw new InvalidArgumentError('keep', 'expected an iterable of SlotKeys');
    }
    const kept = new KeyMap<true>();
    for (const key of keep) kept.set(keyOf(key), true);
    const evicted: SlotKey[] = [];
    for (const [key] of [...this.#slots.entries(), ...this.#pending.entries()]) {
      if (!kept.get(key) && this.evictSlot(key)) evicted.push(key);
    }
    return evicted;
  }

  /**
   * Refuses every call of `key` from now on with PluginUnavailable, whichever version an adapter is pinned to, also of
   * plugins that are registered later. Calls that run finish; queued ones are refused. Lasts until `enable`.
   * Throws InvalidArgument and Closed.
   */
  disable(key: SlotKey, reason: string): void {
    this.#dispatcher.checkOpen();
    const at = keyOf(key);
    if (typeof reason !== 'string') throw new InvalidArgumentError('reason', 'expected a string');
    this.#isolation.switches.disable(at, reason);
  }

  /** Ends `disable`; true if the key was disabled. Throws InvalidArgument. */
  enable(key: SlotKey): boolean {
    return this.#isolation.switches.enable(keyOf(key));
  }

  /** Every disabled key with its reason, whether a slot is registered under it or not. */
  disabledKeys(): [SlotKey, string][] {
    return this.#isolation.switches.entries();
  }

  /**
   * Puts the version before the current one back into service, as a new version with a closed breaker. Nothing is
   * compiled. Overtakes pending registrations on the key. A rollback cannot be rolled back: register the bytes again.
   * Throws SlotNotFound, ModuleRejected where there is no version before, InvalidArgument and Closed.
   */
  rollback(key: SlotKey): PluginSlot {
    this.#dispatcher.checkOpen();
    const at = keyOf(key);
    const slot = this.#slots.get(at);
    if (slot === undefined) throw noSlotAt(at);
    const { previous, current } = slot;
    if (previous === null) {
      const context = { plugin: current.pluginName, principal: at.principal, versionId: current.versionId };
      throw new ModuleRejectedError(`slot ${at} has no version to roll back to`, context);
    }
    const cell = newCell(previous, {
      ...previous,
      principal: at.principal,
      versionId: current.versionId + 1,
      guard: this.#isolation.newGuard(at, previous.pluginName, slot),
    });
    slot.rollBack(cell);
    this.#isolation.swapped(slot);
    this.#overtake(at);
    return slot;
  }

  /** How many slots are registered. */
  get slotCount(): number {
    return this.#slots.size;
  }

  /** Every registered slot. */
  slots(): PluginSlot[] {
    return [...this.#slots.entries()].map(([, slot]) => slot);
  }

  /**
   * Calls the filter under `key` with an encoded request and returns its encoded answer; no adapter rule applies.
   * Throws SlotNotFound, ModuleRejected for a slot of another kind, and whatever the call throws.
   */
  callFilter(key: SlotKey, bytes: Uint8Array): Uint8Array {
    return this.#callRaw('filter', key, bytes);
  }

  /** Like `callFilter`, for a shape plugin. */
  callShape(key: SlotKey, bytes: Uint8Array): Uint8Array {
    return this.#callRaw('shape', key, bytes);
  }

  /** Like `callFilter`, for an observe plugin; the answer is empty. */
  callObserve(key: SlotKey, bytes: Uint8Array): Uint8Array {
    return this.#callRaw('observe', key, bytes);
  }

  /** Publishes the state of the pool, of the compiled cache and of each slot to the metrics sink. */
  publishPoolMetrics(): void {
    for (const [, slot] of this.#slots.entries()) this.#metrics.slot(slot.status);
    const { config } = this;
    const stats = this.#engine.native.stats();
    publishPoolMetrics(this.#metrics, {
      ...config,
      engine: this.#engine.id,
      memoriesUsed: stats.poolMemories,
      coreInstancesUsed: stats.poolCoreInstances,
      virtualMemoryReservationBytes: virtualMemoryReservationBytes(config),
      compiledCache: {
        hits: stats.cacheHits,
        misses: stats.cacheMisses,
        evictions: stats.cacheEvictions,
        entries: stats.cacheEntries,
        bytes: stats.cacheBytes,
      },
    });
  }

  /** Counts of this moment. */
  stats(): RuntimeStats {
    const engine = this.#engine.native.stats();
    return { slots: this.slotCount, inFlight: this.#dispatcher.inFlight, queued: queueLength(), engine };
  }

  /** Whether guests can still be run safely: traps reach the engine, and no compilation hangs. */
  health(): RuntimeHealth {
    const problems = native
      .replacedSignalHandlers()
      .map(
        (signal) => `the handler of ${signal} was replaced: a guest's bad memory access would hang or end the process`,
      );
    const { abandonedCompiles, lostCompileBytes } = this.#engine.native.stats();
    if (abandonedCompiles > 0)
      problems.push(`${abandonedCompiles} compilations outlived their time limit and still run`);
    if (lostCompileBytes > this.config.maxCompileBytes) {
      const lost = `compilations that took too much memory have kept ${lostCompileBytes} bytes`;
      problems.push(`${lost}: nothing is admitted until the process restarts`);
    }
    return { ok: problems.length === 0, problems };
  }

  /** Refuses new calls and registrations; running and queued calls finish. May be called more than once. */
  close(): void {
    if (this.#dispatcher.closed) return;
    this.#dispatcher.close();
    this.retainSlots([]);
  }

  /** `close()`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /**
   * Resolves when no call of this runtime runs or waits off this thread. Called after `close()`, it marks the end of a
   * graceful shutdown; before it, calls that begin later are waited for too if they overlap.
   */
  drain(): Promise<void> {
    return this.#dispatcher.drained();
  }

  /** `close()`, then `drain()`. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.drain();
  }

  #callRaw(kind: SlotKind, key: SlotKey, bytes: Uint8Array): Uint8Array {
    this.#dispatcher.checkOpen();
    const at = keyOf(key);
    checkBytes(bytes, 'bytes');
    const slot = this.#slots.get(at);
    if (slot === undefined) throw noSlotAt(at);
    checkSlotKind(slot, kind);
    return this.#dispatcher.inline(new RawCall(slot.current, kind, bytes));
  }

  #register(kind: SlotKind, key: SlotKey, name: string, bytes: Uint8Array, options: SlotOptions = {}): PluginSlot {
    const version = versionOptions(parseArgument(slotOptionsSchema, options, 'options'), this.config);
    const at = this.#checkRegistration(key, name, bytes);
    const facts = { plugin: name, principal: at.principal, kind };
    try {
      const existing = this.#unchanged(kind, at, bytes, version);
      const admitted = () => reportAdmission(facts, () => admit(this.#inside, bytes, kind));
      const slot = existing ?? this.#apply(kind, at, name, admitted(), version);
      this.#overtake(at);
      return slot;
    } catch (error) {
      this.#isolation.refused(this.#slots.get(at), error);
      throw error;
    }
  }

  async #registerAsync(
    kind: SlotKind,
    key: SlotKey,
    name: string,
    bytes: Uint8Array,
    options: AsyncSlotOptions = {},
  ): Promise<PluginSlot> {
    const { signal, ...own } = parseArgument(asyncSlotOptionsSchema, options, 'options');
    const version = versionOptions(own, this.config);
    const at = this.#checkRegistration(key, name, bytes);
    signal?.throwIfAborted();
    const pending = this.#pending.get(at) ?? { last: Promise.resolve(), waiting: 0, evictions: 0, overtakes: 0 };
    this.#pending.set(at, pending);
    const { last: before, evictions, overtakes } = pending;
    const facts = { plugin: name, principal: at.principal, kind };
    const admitted = reportAdmissionAsync(facts, admitAsync(this.#inside, bytes, kind, signal));
    const registered = (async () => {
      const [result] = await Promise.allSettled([admitted, before]);
      signal?.throwIfAborted();
      this.#dispatcher.checkOpen();
      if (pending.evictions !== evictions) {
        throw new SlotNotFoundError(`slot ${at} was evicted while it was being registered`, {
          evicted: true,
          principal: at.principal,
          plugin: name,
        });
      }
      if (result.status === 'rejected') throw result.reason;
      const slot = this.#slots.get(at);
      if (slot !== undefined && pending.overtakes !== overtakes) {
        checkSlotKind(slot, kind);
        return slot;
      }
      return this.#apply(kind, at, name, result.value, version);
    })();
    pending.last = registered.catch((error: unknown) => this.#isolation.refused(this.#slots.get(at), error));
    pending.waiting++;
    const settled = () => {
      if (--pending.waiting === 0) this.#pending.delete(at);
    };
    registered.then(settled, settled);
    return unlessAborted(registered, signal);
  }

  get #inside() {
    return accessOf(this);
  }

  /** Checks what every registration takes and returns the key. */
  #checkRegistration(key: SlotKey, name: string, bytes: Uint8Array): SlotKey {
    this.#dispatcher.checkOpen();
    const at = keyOf(key);
    if (typeof name !== 'string') throw new InvalidArgumentError('name', 'expected a string');
    checkBytes(bytes, 'bytes');
    return at;
  }

  /** The slot that has this content and these options already; neither compiles nor probes. */
  #unchanged(kind: SlotKind, key: SlotKey, bytes: Uint8Array, options: VersionOptions): Slot | undefined {
    const slot = this.#slots.get(key);
    if (slot === undefined || slot.kind !== kind) return undefined;
    if (slot.current.contentHash !== contentHashOf(this.#engine, bytes)) return undefined;
    return hasOptions(slot.current, options) ? slot : undefined;
  }

  #apply(kind: SlotKind, key: SlotKey, name: string, admitted: AdmittedModule, options: VersionOptions): Slot {
    const slot = this.#slots.get(key);
    if (slot !== undefined) {
      checkSlotKind(slot, kind);
      if (slot.current.contentHash === admitted.contentHash && hasOptions(slot.current, options)) return slot;
    }
    const cell = newCell(admitted, {
      ...options,
      versionId: (slot?.current.versionId ?? 0) + 1,
      pluginName: name,
      principal: key.principal,
      guard: this.#isolation.newGuard(key, name, slot),
    });
    if (slot !== undefined) {
      const { versionId } = slot.current;
      slot.swap(cell);
      this.#isolation.swapped(slot);
      publishSwap(slot, versionId);
      return slot;
    }
    const first = new Slot(key, kind, cell);
    this.#isolation.registered(first);
    this.#slots.set(key, first);
    publishSwap(first, undefined);
    return first;
  }

  /** Pending registrations on the key resolve with the slot as it is then. */
  #overtake(key: SlotKey): void {
    const pending = this.#pending.get(key);
    if (pending !== undefined) pending.overtakes++;
  }
}
