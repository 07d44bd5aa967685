/** Slots: the registered plugins and their current versions. */
import { ModuleRejectedError, SlotNotFoundError } from './errors.ts';
import { type SlotStatus, statusOf } from './isolation/status.ts';
import type { SlotKey } from './slot-key.ts';
import type { SlotKind } from './types.ts';
import type { PluginCell, Version } from './versions.ts';

/** The versions of one plugin under one key. The kind of a slot does not change. */
export interface PluginSlot {
  /** Its key. */
  readonly key: SlotKey;
  /** The name of its first registration; each version has the name of its own registration. */
  readonly name: string;
  /** Its kind. */
  readonly kind: SlotKind;
  /** The version of new calls. */
  readonly current: PluginCell;
  /** The current state and counters of the slot, as a new object for each access. */
  readonly status: SlotStatus;
}

/** The internal class of slots. */
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

  /** The previous version; null for a first version, and after a rollback. */
  get previous(): Version<Kind> | null {
    return this.#previous;
  }

  get status(): SlotStatus {
    return statusOf(this);
  }

  get evicted(): boolean {
    return this.#evicted;
  }

  /** Sets the next version. Calls in flight finish on the version on which they started. */
  swap(next: Version<Kind>): void {
    next.module.serve();
    this.#version.module.retire();
    this.#previous = this.#version.options.enforcement === 'enforce' ? this.#version : null;
    this.#version = next;
  }

  /** Swaps to the content of the previous version, which is possible once. */
  rollBack(next: Version<Kind>): void {
    this.swap(next);
    this.#previous = null;
  }

  /** Evicts the slot. Adapters that are pinned to its version continue to work. */
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

/** Creates the error of a call to a missing slot. */
export function noSlotAt(key: SlotKey): SlotNotFoundError {
  const { principal, plugin } = key;
  return new SlotNotFoundError(`no slot is registered under ${key}`, { principal, plugin });
}
