/**
 * Registrations, evictions and rollbacks, and the order in which they apply to one key.
 *
 * Asynchronous registrations on a key apply in the order of their calls: each waits for the previous one. `Pending`
 * counts the events of the key, and a registration compares the counts of its call with those of its turn:
 *
 *     | since its call              | at its turn it                                  |
 *     | --------------------------- | ----------------------------------------------- |
 *     | nothing                     | applies                                         |
 *     | an eviction                 | rejects as evicted                              |
 *     | a synchronous registration, | resolves with the current slot                  |
 *     | a rollback, or `enforce`    |                                                 |
 */
import { isDeepStrictEqual } from 'node:util';
import { type AdmittedModule, admit, admitAsync, contentHashOf } from './admission/admit.ts';
import type { Core } from './core.ts';
import { publishEviction, publishSwap, reportAdmission, reportAdmissionAsync } from './diagnostics.ts';
import { unlessAborted } from './dispatch/abort.ts';
import { ModuleRejectedError, SlotNotFoundError } from './errors.ts';
import type { VersionGuard } from './isolation/guard.ts';
import { Monitor } from './isolation/monitor.ts';
import { KeyMap, keyOf, type SlotKey } from './slot-key.ts';
import { checkSlotKind, noSlotAt, Slot } from './slots.ts';
import type { SlotKind } from './types.ts';
import { checkBytes, checkString, parseArgument } from './validate.ts';
import {
  type AsyncSlotOptions,
  asyncSlotOptionsSchema,
  type SlotOptions,
  slotOptionsSchema,
  Version,
  type VersionOptions,
  versionOptions,
} from './versions.ts';
import type { SchemasOf } from './wire/schemas.ts';

/** The pending asynchronous registrations of one key, and counts of the events that affect them. */
interface Pending {
  last: Promise<unknown>;
  waiting: number;
  evictions: number;
  overtakes: number;
}

/** The registrations of one runtime. */
export class Registrations {
  readonly #core: Core;
  readonly #pending = new KeyMap<Pending>();

  constructor(core: Core) {
    this.#core = core;
  }

  /** Registers on this thread; see `WasmtimeRuntime.registerFilter`. */
  register(kind: SlotKind, key: SlotKey, name: string, bytes: Uint8Array, options: SlotOptions = {}): Slot {
    const version = versionOptions(kind, parseArgument(slotOptionsSchema, options, 'options'), this.#core.config);
    const at = this.#check(key, name, bytes);
    const facts = { plugin: name, principal: at.principal, kind };
    try {
      const existing = this.#unchanged(kind, at, bytes, version);
      const admitted = () => reportAdmission(facts, () => admit(this.#core, bytes, facts));
      const slot = existing ?? this.#apply(kind, at, name, admitted(), version);
      this.#overtake(at);
      return slot;
    } catch (error) {
      this.#core.isolation.rejected(this.#core.slots.get(at), error);
      throw error;
    }
  }

  /** Registers off-thread; see `WasmtimeRuntime.registerFilterAsync`. */
  async registerAsync(
    kind: SlotKind,
    key: SlotKey,
    name: string,
    bytes: Uint8Array,
    options: AsyncSlotOptions = {},
  ): Promise<Slot> {
    const { signal, ...own } = parseArgument(asyncSlotOptionsSchema, options, 'options');
    const version = versionOptions(kind, own, this.#core.config);
    const at = this.#check(key, name, bytes);
    signal?.throwIfAborted();
    const pending = this.#pending.get(at) ?? { last: Promise.resolve(), waiting: 0, evictions: 0, overtakes: 0 };
    this.#pending.set(at, pending);
    const { last: before, evictions, overtakes } = pending;
    const facts = { plugin: name, principal: at.principal, kind };
    const admitted = reportAdmissionAsync(
      facts,
      admitAsync(this.#core, bytes, { ...facts, signal }),
      ({ contentHash }) => !this.#holds(kind, at, contentHash, version),
    );
    const registered = (async () => {
      const [result] = await Promise.allSettled([admitted, before]);
      signal?.throwIfAborted();
      this.#core.dispatcher.checkOpen();
      if (pending.evictions !== evictions) {
        throw new SlotNotFoundError(`slot ${at} was evicted while it was being registered`, {
          evicted: true,
          principal: at.principal,
          plugin: name,
        });
      }
      if (result.status === 'rejected') throw result.reason;
      const slot = this.#core.slots.get(at);
      if (slot !== undefined && pending.overtakes !== overtakes) {
        checkSlotKind(slot, kind);
        return slot;
      }
      return this.#apply(kind, at, name, result.value, version);
    })();
    pending.last = registered.catch((error: unknown) => this.#core.isolation.rejected(this.#core.slots.get(at), error));
    pending.waiting++;
    const settled = () => {
      if (--pending.waiting === 0) this.#pending.delete(at);
    };
    registered.then(settled, settled);
    return unlessAborted(registered, signal);
  }

  /** Evicts the slot of `key` and its pending registrations. Returns whether there was a slot. */
  evict(key: SlotKey): boolean {
    const pending = this.#pending.get(key);
    if (pending !== undefined) pending.evictions++;
    const slot = this.#core.slots.get(key);
    if (slot === undefined) return false;
    this.#setMonitor(slot, null);
    slot.evict();
    this.#core.slots.delete(key);
    this.#core.isolation.evicted(key, slot.version);
    publishEviction(slot);
    return true;
  }

  /** Evicts every slot and every pending registration whose key is not in `keep`. Returns the keys of the slots. */
  retain(keep: Iterable<SlotKey>): SlotKey[] {
    const kept = new KeyMap<true>();
    for (const key of keep) kept.set(keyOf(key), true);
    const evicted: SlotKey[] = [];
    for (const [key] of [...this.#core.slots.entries(), ...this.#pending.entries()]) {
      if (!kept.get(key) && this.evict(key)) evicted.push(key);
    }
    return evicted;
  }

  /** Registers the previous version of the slot again; see `WasmtimeRuntime.rollback`. */
  rollback(at: SlotKey): Slot {
    const slot = this.#core.slots.get(at);
    if (slot === undefined) throw noSlotAt(at);
    const { previous } = slot;
    if (previous === null)
      throw rejection(slot, 'no version to roll back to: a swap keeps one version, and a rollback uses it');
    const { versionId } = slot.version;
    slot.rollBack(this.#recreate(slot, previous));
    this.#core.isolation.swapped(slot);
    publishSwap(slot, versionId);
    this.#overtake(at);
    return slot;
  }

  /** Enforces the monitored version; see `WasmtimeRuntime.enforce`. */
  enforce(at: SlotKey): Slot {
    const slot = this.#core.slots.get(at);
    if (slot === undefined) throw noSlotAt(at);
    const monitored = monitoredVersion(slot);
    if (monitored === undefined) throw rejection(slot, 'no monitored version');
    const version = this.#recreate(slot, monitored);
    this.#setMonitor(slot, null);
    this.#swap(slot, version);
    this.#overtake(at);
    return slot;
  }

  /** Drops the version that is monitored in addition to the enforcing one; see `WasmtimeRuntime.stopMonitoring`. */
  stopMonitoring(at: SlotKey): boolean {
    const slot = this.#core.slots.get(at);
    if (slot === undefined || slot.version.options.enforcement === 'monitor') return false;
    if (slot.version.guard.stats.monitor === null) return false;
    this.#setMonitor(slot, null);
    return true;
  }

  /** Creates the next version from the content of an earlier or monitored one, with a closed breaker. */
  #recreate(slot: Slot, version: Version): Version {
    const { pluginName, principal, options } = version;
    return new Version(version, {
      options: { ...options, enforcement: 'enforce', sample: 1 },
      pluginName,
      principal,
      versionId: slot.version.versionId + 1,
      guard: this.#core.isolation.newGuard(slot.key, pluginName, slot),
    });
  }

  #swap(slot: Slot, version: Version): void {
    const { versionId } = slot.version;
    // A slot with only a monitored version loses it, whether the next version is enforced or monitored.
    if (slot.version.options.enforcement === 'monitor') this.#setMonitor(slot, null);
    slot.swap(version);
    this.#core.isolation.swapped(slot);
    publishSwap(slot, versionId);
  }

  #setMonitor(slot: Slot, monitor: Monitor<Version> | null): void {
    const { stats } = slot.version.guard;
    const replaced = monitoredVersion(slot);
    stats.monitor = monitor;
    if (monitor !== null) {
      monitor.version.module.serve();
      this.#core.isolation.registered(monitor.version);
    }
    if (replaced !== undefined) {
      replaced.module.retire();
      this.#core.isolation.evicted(slot.key, replaced);
    }
  }

  /** Validates the arguments of a registration and returns the key. */
  #check(key: SlotKey, name: string, bytes: Uint8Array): SlotKey {
    this.#core.dispatcher.checkOpen();
    const at = keyOf(key);
    checkString(name, 'name');
    checkBytes(bytes, 'bytes');
    return at;
  }

  /** Returns the slot that already has this content and these options, without compiling or probing. */
  #unchanged(kind: SlotKind, key: SlotKey, bytes: Uint8Array, options: VersionOptions): Slot | undefined {
    const slot = this.#core.slots.get(key);
    if (slot === undefined) return undefined;
    return this.#holds(kind, key, contentHashOf(this.#core.engine, bytes), options) ? slot : undefined;
  }

  /** Returns whether the slot of `key` already has this content with these options, enforced or monitored. */
  #holds(kind: SlotKind, key: SlotKey, contentHash: string, options: VersionOptions): boolean {
    const slot = this.#core.slots.get(key);
    if (slot === undefined || slot.kind !== kind) return false;
    const version = options.enforcement === 'monitor' ? monitoredVersion(slot) : slot.version;
    return version?.contentHash === contentHash && isDeepStrictEqual(version.options, options);
  }

  #apply(kind: SlotKind, key: SlotKey, name: string, admitted: AdmittedModule, options: VersionOptions): Slot {
    const slot = this.#core.slots.get(key);
    if (slot !== undefined) {
      checkSlotKind(slot, kind);
      if (this.#holds(kind, key, admitted.contentHash, options)) return slot;
    }
    // Admission rejects a module that does not declare the hook of the kind.
    const content = { ...admitted, schemas: admitted.schemas as SchemasOf<SlotKind> };
    const versionWith = (guard: VersionGuard) => {
      const versionId = (slot?.version.versionId ?? 0) + 1;
      return new Version(content, { options, versionId, pluginName: name, principal: key.principal, guard });
    };
    const { isolation } = this.#core;
    const alongside = options.enforcement === 'monitor' && slot?.version.options.enforcement === 'enforce';
    const holder = alongside ? slot : this.#install(slot, key, kind, versionWith(isolation.newGuard(key, name, slot)));
    if (options.enforcement === 'monitor') {
      // The monitored version has its own guard: its calls do not affect the enforcing version, and are not monitored.
      const version = versionWith(isolation.newGuard(key, name, undefined));
      this.#setMonitor(holder, new Monitor(key, version, this.#core.config, this.#core.monitored));
    }
    return holder;
  }

  #install(slot: Slot | undefined, key: SlotKey, kind: SlotKind, version: Version): Slot {
    if (slot !== undefined) {
      this.#swap(slot, version);
      return slot;
    }
    const first = new Slot(key, kind, version);
    this.#core.isolation.registered(version);
    this.#core.slots.set(key, first);
    publishSwap(first, undefined);
    return first;
  }

  /** Makes pending registrations of the key resolve with the current slot. */
  #overtake(key: SlotKey): void {
    const pending = this.#pending.get(key);
    if (pending !== undefined) pending.overtakes++;
  }
}

/** Returns the monitored version of a slot. Only `#setMonitor` sets it, always with a Version. */
function monitoredVersion({ version }: Slot): Version | undefined {
  return version.guard.stats.monitor?.version as Version | undefined;
}

function rejection({ key, version }: Slot, problem: string): ModuleRejectedError {
  const { pluginName, versionId } = version;
  const context = { plugin: pluginName, principal: key.principal, versionId };
  return new ModuleRejectedError(`slot ${key} has ${problem}`, context);
}
