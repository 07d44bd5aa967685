/** Slots: what is registered under which key, and the versions that follow each other in it. */
import { ModuleRejectedError, SlotNotFoundError } from './errors.ts';
import { type SlotStatus, statusOf } from './isolation/status.ts';
import type { SlotKey } from './slot-key.ts';
import type { SlotKind } from './types.ts';
import type { PluginCell, Version } from './versions.ts';

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
export class Slot<Kind extends SlotKind = SlotKind> implements PluginSlot {
  readonly key: SlotKey;
  readonly name: string;
  readonly kind: Kind;
  #version: Version<Kind>;
  #previous: Version<Kind> | null = null;
  #evicted = false;

  constructor(key: SlotKey, kind: Kind, first: Version<Kind>) {
    this.key = key;
    this.name = first.pluginName;
    this.kind = kind;
    this.#version = first;
    first.module.serve();
  }

  get current(): PluginCell {
    return this.#version.cell;
  }

  /** The current version. */
  get version(): Version<Kind> {
    return this.#version;
  }

  /** The version that the current one replaced; null for a first version, and after a rollback. */
  get previous(): Version<Kind> | null {
    return this.#previous;
  }

  get status(): SlotStatus {
    return statusOf(this);
  }

  get evicted(): boolean {
    return this.#evicted;
  }

  /** Puts the next version in; calls in flight keep the one they began with. */
  swap(next: Version<Kind>): void {
    next.module.serve();
    this.#version.module.retire();
    this.#previous = this.#version;
    this.#version = next;
  }

  /** `swap` with the content of the previous version, which can be done once. */
  rollBack(next: Version<Kind>): void {
    this.swap(next);
    this.#previous = null;
  }

  /** Takes the slot out of service; adapters that hold its version continue. */
  evict(): void {
    if (this.#evicted) return;
    this.#evicted = true;
    this.#previous = null;
    this.#version.module.retire();
  }
}

/** Throws ModuleRejected for a slot of another kind. */
export function checkSlotKind<Kind extends SlotKind>(slot: Slot, kind: Kind): asserts slot is Slot<Kind> {
  if (slot.kind === kind) return;
  throw new ModuleRejectedError(`slot ${slot.key} has kind ${slot.kind}, expected ${kind}`, {
    plugin: slot.version.pluginName,
    principal: slot.key.principal,
  });
}

/** The error of a call to a slot that is not there. */
export function noSlotAt(key: SlotKey): SlotNotFoundError {
  const { principal, plugin } = key;
  return new SlotNotFoundError(`no slot is registered under ${key}`, { principal, plugin });
}
