/** The public facade of a runtime over its core and its registrations. */
import * as z from 'zod';
import { type HotEngineConfig, type HotEngineConfigInput, virtualMemoryReservationBytes } from './config.ts';
import { Core } from './core.ts';
import { publishKillSwitch } from './diagnostics.ts';
import { queueLength } from './dispatch/queue.ts';
import { RawCall } from './dispatch/raw-call.ts';
import { openEngine } from './engine.ts';
import { InvalidArgumentError } from './errors.ts';
import { guardedListener, type MonitorReport } from './isolation/monitor.ts';
import { guardedSink, type MetricsSink, publishPoolMetrics } from './metrics/sink.ts';
import { type NativeCacheDirStats, type NativeEngineStats, native } from './native/addon.ts';
import { Registrations } from './registration.ts';
import { keyOf, type SlotKey } from './slot-key.ts';
import { checkSlotKind, noSlotAt, type PluginSlot } from './slots.ts';
import type { SlotKind } from './types.ts';
import { checkBytes, checkString, parseArgument } from './validate.ts';
import type { AsyncSlotOptions, SlotOptions } from './versions.ts';

/** `guardedSink` validates the sink's methods. */
const runtimeOptionsSchema = z
  .strictObject({
    /** Receives the runtime's metrics. */
    metrics: z.custom<MetricsSink>(() => true).optional(),
    /** Runtimes of different groups never share an engine. */
    engineGroup: z.string().optional(),
    /**
     * Records the stack of wasm functions of each trap as `frames` of GuestTrapError, on a separate engine. This makes
     * failures slow: use it for `explain` and for tests of plugins.
     */
    explain: z.boolean().optional(),
    /**
     * Receives each call of a monitored version with the enforced outcome. The first error it throws is emitted as a
     * process warning.
     */
    onMonitored: z
      .custom<(report: MonitorReport) => void>((value) => typeof value === 'function', 'expected a function')
      .optional(),
  })
  .readonly();

/** Options of a runtime in addition to its config. */
export interface RuntimeOptions extends z.input<typeof runtimeOptionsSchema> {}

/** A snapshot of counts. */
export interface RuntimeStats {
  /** Registered slots. */
  readonly slots: number;
  /** Off-thread calls of this runtime that run or wait. All queued events of a slot count as one. */
  readonly inFlight: number;
  /** Off-thread calls of this JavaScript thread that wait for a permit. */
  readonly queued: number;
  /** The engine's own counts; an engine may be shared with other runtimes and threads. */
  readonly engine: NativeEngineStats;
  /** Counts of `compileCacheDir` since this process opened it; null without one. */
  readonly compileCache: NativeCacheDirStats | null;
}

/** Whether guests can run safely. */
export interface RuntimeHealth {
  /** Whether there are no problems. */
  readonly ok: boolean;
  /** The problems, one sentence each. */
  readonly problems: readonly string[];
}

/**
 * Returns the core of `runtime`. Throws an InvalidArgumentError for anything but a runtime of this copy of the package.
 */
export let coreOf: (runtime: unknown) => Core;

/**
 * Admits plugins, registers them in slots and calls them. Close it with `close()` or `using`.
 *
 * @example
 * ```js
 * import { readFileSync } from 'node:fs';
 * import { productionHotEngineConfig, SlotKey, WasmtimeRuntime } from 'cc-lb-runtime-wasmtime';
 *
 * const bytes = readFileSync(new URL(import.meta.resolve('cc-lb-runtime-wasmtime/plugins/cache-aware.wasm')));
 * const runtime = new WasmtimeRuntime({ ...productionHotEngineConfig(), deadlineMs: 250 });
 * const slot = await runtime.registerFilterAsync(SlotKey.global('cache-aware'), 'cache-aware', bytes);
 * console.log(slot.current.metadata.name, slot.current.versionId, slot.current.deadlineMs); // → cache-aware 1 250
 *
 * runtime.close();
 * await runtime.drain();
 * ```
 */
export class WasmtimeRuntime {
  readonly #core: Core;
  readonly #registrations: Registrations;

  static {
    coreOf = (runtime) => {
      if (typeof runtime === 'object' && runtime !== null && #core in runtime) return runtime.#core;
      throw new InvalidArgumentError('runtime', 'expected a WasmtimeRuntime of this package');
    };
  }

  /**
   * Builds the engine of `config`, or shares the engine of the process with equal options. Throws InvalidArgument for
   * an invalid field of the config, and EngineInit if the engine cannot be built.
   */
  constructor(config?: HotEngineConfigInput, options: RuntimeOptions = {}) {
    const { metrics, engineGroup, explain, onMonitored } = parseArgument(runtimeOptionsSchema, options, 'options');
    const sink = guardedSink(metrics, 'options.metrics');
    this.#core = new Core(openEngine(config, engineGroup ?? null, explain), sink, guardedListener(onMonitored));
    this.#registrations = new Registrations(this.#core);
  }

  /** The complete config, frozen. */
  get config(): HotEngineConfig {
    return this.#core.engine.config;
  }

  /**
   * Admits `bytes` and registers them in the slot of `key`, as its first or its next version. The same content with the
   * same options returns the slot unchanged. A rejected module does not change the slot. Throws ModuleRejected,
   * ModuleCompile, InstantiateFailed, ProbeFailed, PoolSaturated, InvalidArgument or Closed.
   */
  registerFilter(key: SlotKey, name: string, bytes: Uint8Array, options?: Omit<SlotOptions, 'instance'>): PluginSlot {
    return this.#registrations.register('filter', key, name, bytes, options);
  }

  /** Like `registerFilter`, for a shape plugin and its transforms. */
  registerShape(key: SlotKey, name: string, bytes: Uint8Array, options?: SlotOptions): PluginSlot {
    return this.#registrations.register('shape', key, name, bytes, options);
  }

  /** Like `registerFilter`, for an observe plugin. */
  registerObserve(key: SlotKey, name: string, bytes: Uint8Array, options?: Omit<SlotOptions, 'instance'>): PluginSlot {
    return this.#registrations.register('observe', key, name, bytes, options);
  }

  /**
   * Asynchronous form of `registerFilter`, which admits off-thread. Registrations of one key apply in the order of
   * their calls. If an eviction applies first, a pending one rejects as evicted. If a synchronous registration applies
   * first, it resolves with the current slot. Rejects with `signal.reason` on abort.
   */
  registerFilterAsync(
    key: SlotKey,
    name: string,
    bytes: Uint8Array,
    options?: Omit<AsyncSlotOptions, 'instance'>,
  ): Promise<PluginSlot> {
    return this.#registrations.registerAsync('filter', key, name, bytes, options);
  }

  /** Like `registerFilterAsync`, for a shape plugin and its transforms. */
  registerShapeAsync(key: SlotKey, name: string, bytes: Uint8Array, options?: AsyncSlotOptions): Promise<PluginSlot> {
    return this.#registrations.registerAsync('shape', key, name, bytes, options);
  }

  /** Like `registerFilterAsync`, for an observe plugin. */
  registerObserveAsync(
    key: SlotKey,
    name: string,
    bytes: Uint8Array,
    options?: Omit<AsyncSlotOptions, 'instance'>,
  ): Promise<PluginSlot> {
    return this.#registrations.registerAsync('observe', key, name, bytes, options);
  }

  /** Returns the slot of `key`; undefined if none is registered. */
  getSlot(key: SlotKey): PluginSlot | undefined {
    return this.#core.slots.get(keyOf(key));
  }

  /**
   * Evicts the slot of `key`; returns whether there was one. Adapters that are pinned to its version continue to work.
   */
  evictSlot(key: SlotKey): boolean {
    return this.#registrations.evict(keyOf(key));
  }

  /**
   * Evicts every slot whose key is not in `keep`, and returns their keys. Pending registrations of other keys reject as
   * evicted. Call it after the new view is published.
   */
  retainSlots(keep: Iterable<SlotKey>): SlotKey[] {
    if (typeof (keep as Iterable<SlotKey> | undefined)?.[Symbol.iterator] !== 'function') {
      throw new InvalidArgumentError('keep', 'expected an iterable of SlotKeys');
    }
    return this.#registrations.retain(keep);
  }

  /**
   * Rejects every later call of `key` with PluginUnavailable, for every version that an adapter is pinned to, and for
   * plugins that are registered later. Running calls finish; queued ones are rejected. Lasts until `enable`. Throws
   * InvalidArgument and Closed.
   */
  disable(key: SlotKey, reason: string): void {
    this.#core.dispatcher.checkOpen();
    const at = keyOf(key);
    checkString(reason, 'reason');
    this.#core.isolation.switches.disable(at, reason);
    publishKillSwitch(at, reason);
  }

  /** Ends `disable`; returns whether the key was disabled. Throws InvalidArgument. */
  enable(key: SlotKey): boolean {
    const at = keyOf(key);
    const wasDisabled = this.#core.isolation.switches.enable(at);
    if (wasDisabled) publishKillSwitch(at, null);
    return wasDisabled;
  }

  /** Returns every disabled key with its reason, including keys without a slot. */
  disabledKeys(): [SlotKey, string][] {
    return this.#core.isolation.switches.entries();
  }

  /**
   * Registers the previous version again, as a new version with a closed breaker. Nothing is compiled. Pending
   * registrations of the key do not apply. A rollback cannot be rolled back: register the bytes again. Throws
   * SlotNotFound, ModuleRejected if there is no previous version, InvalidArgument and Closed.
   */
  rollback(key: SlotKey): PluginSlot {
    this.#core.dispatcher.checkOpen();
    return this.#registrations.rollback(keyOf(key));
  }

  /**
   * Enforces the monitored version of a slot as its next version. Nothing is compiled. Pending registrations of the key
   * do not apply. Throws SlotNotFound, ModuleRejected if the slot has no monitored version, InvalidArgument and Closed.
   */
  enforce(key: SlotKey): PluginSlot {
    this.#core.dispatcher.checkOpen();
    return this.#registrations.enforce(keyOf(key));
  }

  /**
   * Drops the version that is monitored in addition to the enforcing one. Returns false without one. A slot with only a
   * monitored version is removed by `evictSlot`. Throws InvalidArgument.
   */
  stopMonitoring(key: SlotKey): boolean {
    return this.#registrations.stopMonitoring(keyOf(key));
  }

  /** The number of registered slots. */
  get slotCount(): number {
    return this.#core.slots.size;
  }

  /** Returns every registered slot. */
  slots(): PluginSlot[] {
    return [...this.#core.slots.entries()].map(([, slot]) => slot);
  }

  /**
   * Calls the filter of `key` with an encoded request and returns its encoded answer, without the checks of the
   * adapter. Throws SlotNotFound, ModuleRejected for a slot of another kind, and the error of the call.
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

  /** Publishes the state of the pool, of the cache of compiled modules and of each slot to the metrics sink. */
  publishPoolMetrics(): void {
    for (const [, slot] of this.#core.slots.entries()) this.#core.metrics.slot(slot.status);
    const { config } = this;
    const { engine: stats, compileCache } = this.stats();
    publishPoolMetrics(this.#core.metrics, {
      ...config,
      engine: this.#core.engine.id,
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
      compileCache: compileCache === null ? null : { directory: config.compileCacheDir ?? '', ...compileCache },
    });
  }

  /** Returns current counts. */
  stats(): RuntimeStats {
    const { dispatcher, engine: opened } = this.#core;
    const [engine, compileCache] = [opened.native.stats(), opened.cacheDir?.stats() ?? null];
    return { slots: this.slotCount, inFlight: dispatcher.inFlight.count, queued: queueLength(), engine, compileCache };
  }

  /** Returns whether guests can run safely: traps reach the engine. */
  health(): RuntimeHealth {
    const problems = native
      .replacedSignalHandlers()
      .map(
        (signal) => `the handler of ${signal} was replaced: a guest's bad memory access would hang or end the process`,
      );
    return { ok: problems.length === 0, problems };
  }

  /** Rejects new calls and registrations; running and queued calls finish. May be called more than once. */
  close(): void {
    if (this.#core.dispatcher.closed) return;
    this.#core.dispatcher.close();
    this.retainSlots([]);
  }

  /** `close()`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /**
   * Resolves when no off-thread call of this runtime runs or waits. After `close()`, this is the end of a graceful
   * shutdown. Without `close()`, it also waits for overlapping calls that start later.
   */
  drain(): Promise<void> {
    return this.#core.dispatcher.inFlight.drained();
  }

  /** `close()`, then `drain()`. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.drain();
  }

  #callRaw(kind: SlotKind, key: SlotKey, bytes: Uint8Array): Uint8Array {
    this.#core.dispatcher.checkOpen();
    const at = keyOf(key);
    checkBytes(bytes, 'bytes');
    const slot = this.#core.slots.get(at);
    if (slot === undefined) throw noSlotAt(at);
    checkSlotKind(slot, kind);
    return this.#core.dispatcher.inline(new RawCall(slot.version, kind, bytes));
  }
}
