/** Slots: what is registered under which key, and the versions that follow each other in it. */
import type { PluginMetadata } from './admission/metadata.ts';
import { ModuleRejectedError, SlotNotFoundError } from './errors.ts';
import type { VersionGuard } from './isolation/guard.ts';
import { type SlotStatus, statusOf } from './isolation/status.ts';
import type { NativeModule } from './native/addon.ts';
import type { PluginFailurePolicy } from './policy/failure.ts';
import type { SlotKey } from './slot-key.ts';
import type { HookKind, SlotKind } from './types.ts';
import type { EditionByHook } from './wire/editions.ts';

/** The layout of each hook that the plugin declares; null for a transform in noop mode. */
export type CellEditions = { readonly [Hook in HookKind]?: EditionByHook[Hook] | null };

/** One version of a plugin in a slot. It never changes; a swap replaces it. */
export interface PluginCell {
  /** 1 for the first version of a slot, one more with each swap. */
  readonly versionId: number;
  /** What the plugin declares about itself. */
  readonly metadata: PluginMetadata;
  /** 64 lower-case hex digits over policy version, memory cap and bytes. */
  readonly contentHash: string;
  /** The name under which this version was registered; the `plugin` label of its metrics. */
  readonly pluginName: string;
  /** What happens to a request when this version fails. */
  readonly failurePolicy: PluginFailurePolicy;
  /** Milliseconds for one call. */
  readonly deadlineMs: number;
}

/** What the runtime keeps of a cell beyond its public face. */
export interface CellInternals {
  readonly principal: string;
  readonly module: NativeModule;
  readonly editions: CellEditions;
  readonly guard: VersionGuard;
}

/** A cell as the runtime knows it. */
export type Cell = PluginCell & CellInternals;

/** The versions of one plugin under one key. A slot has one kind for life. */
export interface PluginSlot {
  /** The key that it is registered under. */
  readonly key: SlotKey;
  /** The name that it was first registered under; a version has the name of its own registration. */
  readonly name: string;
  /** Its kind, for life. */
  readonly kind: SlotKind;
  /** The version that new calls get. */
  readonly current: PluginCell;
  /** The slot's state and counters now, as a new object each time. */
  readonly status: SlotStatus;
}

/** A slot as the runtime knows it. */
export class Slot implements PluginSlot {
  readonly key: SlotKey;
  readonly name: string;
  readonly kind: SlotKind;
  #current: Cell;
  #previous: Cell | null = null;
  #evicted = false;

  constructor(key: SlotKey, kind: SlotKind, first: Cell) {
    this.key = key;
    this.name = first.pluginName;
    this.kind = kind;
    this.#current = first;
    first.module.serve();
  }

  get current(): Cell {
    return this.#current;
  }

  /** The version that the current one replaced; null for a first version, and after a rollback. */
  get previous(): Cell | null {
    return this.#previous;
  }

  get status(): SlotStatus {
    return statusOf(this);
  }

  get evicted(): boolean {
    return this.#evicted;
  }

  /** Puts the next version in; calls in flight keep the one they began with. */
  swap(next: Cell): void {
    next.module.serve();
    this.#current.module.retire();
    this.#previous = this.#current;
    this.#current = next;
  }

  /** `swap` with the content of the previous version, which can be done once. */
  rollBack(next: Cell): void {
    this.swap(next);
    this.#previous = null;
  }

  /** Takes the slot out of service; adapters that hold its cell go on. */
  evict(): void {
    if (this.#evicted) return;
    this.#evicted = true;
    this.#previous = null;
    this.#current.module.retire();
  }
}

/** Throws ModuleRejected for a slot of another kind. */
export function checkSlotKind(slot: Slot, kind: SlotKind): void {
  if (slot.kind === kind) return;
  throw new ModuleRejectedError(`slot ${slot.key} has kind ${slot.kind}, expected ${kind}`, {
    plugin: slot.current.pluginName,
    principal: slot.key.principal,
  });
}

/** The error of a call to a slot that is not there. */
export function noSlotAt(key: SlotKey): SlotNotFoundError {
  const { principal, plugin } = key;
  return new SlotNotFoundError(`no slot is registered under ${key}`, { principal, plugin });
}
