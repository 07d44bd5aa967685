/** Versions of slots: an admitted module with the options of its registration. A version never changes. */
import * as z from 'zod';
import type { PluginMetadata } from './admission/metadata.ts';
import { deadlineSchema, failurePolicySchema, type HotEngineConfig } from './config.ts';
import type { ErrorContext } from './errors.ts';
import type { VersionGuard } from './isolation/guard.ts';
import type { NativeModule } from './native/addon.ts';
import type { PluginFailurePolicy } from './policy/failure.ts';
import type { HookKind, SlotKind } from './types.ts';
import type { SchemasOf } from './wire/schemas.ts';

/** Options of a registration. Omitted options are those of the runtime, also when a key is registered again. */
export interface SlotOptions {
  readonly failurePolicy?: PluginFailurePolicy | undefined;
  readonly deadlineMs?: number | undefined;
}

/** Options of an asynchronous registration. */
export interface AsyncSlotOptions extends SlotOptions {
  readonly signal?: AbortSignal | undefined;
}

export const slotOptionsSchema = z.strictObject({
  failurePolicy: failurePolicySchema.optional(),
  deadlineMs: deadlineSchema.optional(),
});
export const asyncSlotOptionsSchema = slotOptionsSchema.extend({ signal: z.instanceof(AbortSignal).optional() });

/** The complete options of a version. */
export type VersionOptions = Pick<PluginCell, 'failurePolicy' | 'deadlineMs'>;

/** Completes the options from the runtime's config. */
export function versionOptions({ failurePolicy, deadlineMs }: SlotOptions, config: HotEngineConfig): VersionOptions {
  return {
    failurePolicy: failurePolicy ?? config.pluginFailurePolicy,
    deadlineMs: deadlineMs ?? config.deadlineMs,
  };
}

/** One version of a plugin in a slot. It never changes; a swap replaces it. */
export interface PluginCell {
  /** 1 for the first version of a slot, incremented with each swap. */
  readonly versionId: number;
  /** The metadata that the plugin declares. */
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

/** The content of a version. */
export interface VersionContent<Kind extends SlotKind> {
  readonly metadata: PluginMetadata;
  readonly contentHash: string;
  readonly module: NativeModule;
  readonly schemas: SchemasOf<Kind>;
}

/** The data of a registration. */
export interface VersionFacts extends VersionOptions {
  readonly versionId: number;
  readonly pluginName: string;
  readonly principal: string;
  readonly guard: VersionGuard;
}

/** The internal class of versions. */
export class Version<Kind extends SlotKind = SlotKind> implements PluginCell {
  readonly versionId: number;
  readonly metadata: PluginMetadata;
  readonly contentHash: string;
  readonly pluginName: string;
  readonly failurePolicy: PluginFailurePolicy;
  readonly deadlineMs: number;
  /** The principal of the slot's key. */
  readonly principal: string;
  readonly module: NativeModule;
  readonly schemas: SchemasOf<Kind>;
  readonly guard: VersionGuard;
  /** The frozen public object, created once. */
  readonly cell: PluginCell;

  constructor(content: VersionContent<Kind>, facts: VersionFacts) {
    this.versionId = facts.versionId;
    this.metadata = content.metadata;
    this.contentHash = content.contentHash;
    this.pluginName = facts.pluginName;
    this.failurePolicy = facts.failurePolicy;
    this.deadlineMs = facts.deadlineMs;
    this.principal = facts.principal;
    this.module = content.module;
    this.schemas = content.schemas;
    this.guard = facts.guard;
    const { versionId, metadata, contentHash, pluginName, failurePolicy, deadlineMs } = this;
    this.cell = Object.freeze({ versionId, metadata, contentHash, pluginName, failurePolicy, deadlineMs });
  }

  hasOptions({ failurePolicy, deadlineMs }: VersionOptions): boolean {
    return this.failurePolicy === failurePolicy && this.deadlineMs === deadlineMs;
  }

  /** Returns the error context of a call of `hook`. */
  contextOf(hook: HookKind): ErrorContext {
    return { plugin: this.pluginName, principal: this.principal, versionId: this.versionId, hook };
  }
}
