/** Versions of slots: an admitted module with the options of its registration. A version never changes. */
import * as z from 'zod';
import type { PluginMetadata } from './admission/metadata.ts';
import { deadlineSchema, failurePolicySchema, type HotEngineConfig } from './config.ts';
import { type ErrorContext, InvalidArgumentError } from './errors.ts';
import type { VersionGuard } from './isolation/guard.ts';
import type { NativeModule } from './native/addon.ts';
import type { PluginFailurePolicy } from './policy/failure.ts';
import type { HookKind, SlotKind } from './types.ts';
import type { SchemasOf } from './wire/schemas.ts';

const slotOptions = {
  /** What happens to a request when the plugin fails. */
  failurePolicy: failurePolicySchema.optional(),
  /** Milliseconds for one call. */
  deadlineMs: deadlineSchema.optional(),
  /**
   * For shapes: `stream` transforms the events of one response's stream on one instance, which keeps its state between
   * them and is dropped with the stream. The default, `event`, uses a fresh instance for each event.
   */
  instance: z.enum(['event', 'stream']).optional(),
  /**
   * `monitor` registers a version in addition to the enforcing one, or alone. It receives a copy of sampled traffic
   * outside the request path and never changes a request. The default is `enforce`.
   */
  enforcement: z.enum(['enforce', 'monitor']).optional(),
  /** The share of traffic that a monitored version receives, from 0 to 1. The default is 1. */
  sample: z.number().min(0).max(1).optional(),
};
export const slotOptionsSchema = z.strictObject(slotOptions).readonly();
export const asyncSlotOptionsSchema = z
  .strictObject({
    ...slotOptions,
    /** Aborts the registration; the promise rejects with its reason. */
    signal: z.instanceof(AbortSignal).optional(),
  })
  .readonly();

/** Options of a registration. Omitted options are those of the runtime, also when a key is registered again. */
export interface SlotOptions extends z.input<typeof slotOptionsSchema> {}

/** Options of an asynchronous registration. */
export interface AsyncSlotOptions extends z.input<typeof asyncSlotOptionsSchema> {}

/** The options of a version, complete. */
export type VersionOptions = Pick<PluginCell, 'failurePolicy' | 'deadlineMs' | 'instance' | 'enforcement' | 'sample'>;

/** Adds the defaults of the runtime's config. Throws an InvalidArgumentError for options that exclude each other. */
export function versionOptions(kind: SlotKind, options: SlotOptions, config: HotEngineConfig): VersionOptions {
  const { failurePolicy, deadlineMs, instance = 'event', enforcement = 'enforce', sample } = options;
  if (options.instance !== undefined && kind !== 'shape') {
    throw new InvalidArgumentError('options.instance', 'expected only for a shape');
  }
  if (sample !== undefined && enforcement === 'enforce') {
    throw new InvalidArgumentError('options.sample', "expected only with enforcement 'monitor'");
  }
  return {
    failurePolicy: failurePolicy ?? config.pluginFailurePolicy,
    deadlineMs: deadlineMs ?? config.deadlineMs,
    instance,
    enforcement,
    sample: sample ?? 1,
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
  /** Whether each event of a stream has a fresh instance, or all events of a stream share one. */
  readonly instance: 'event' | 'stream';
  /** Whether its answers are used, or only compared. */
  readonly enforcement: 'enforce' | 'monitor';
  /** The share of traffic that a monitored version receives, from 0 to 1. */
  readonly sample: number;
}

/** The content of a version. */
export interface VersionContent<Kind extends SlotKind> {
  readonly metadata: PluginMetadata;
  readonly contentHash: string;
  readonly module: NativeModule;
  readonly schemas: SchemasOf<Kind>;
}

/** The data of a registration. */
export interface VersionFacts {
  readonly versionId: number;
  readonly pluginName: string;
  readonly principal: string;
  readonly guard: VersionGuard;
  readonly options: VersionOptions;
}

/** The internal class of versions. */
export class Version<Kind extends SlotKind = SlotKind> implements VersionContent<Kind>, VersionFacts {
  readonly metadata: PluginMetadata;
  readonly contentHash: string;
  readonly module: NativeModule;
  /** The number of the module for calls on this thread. */
  readonly target: number;
  readonly schemas: SchemasOf<Kind>;
  readonly versionId: number;
  readonly pluginName: string;
  /** The principal of the slot's key. */
  readonly principal: string;
  readonly guard: VersionGuard;
  readonly options: VersionOptions;
  /** The frozen public object, created once. */
  readonly cell: PluginCell;

  constructor(content: VersionContent<Kind>, facts: VersionFacts) {
    const { metadata, contentHash } = content;
    const { versionId, pluginName, options } = facts;
    this.metadata = metadata;
    this.contentHash = contentHash;
    this.module = content.module;
    this.target = content.module.target();
    this.schemas = content.schemas;
    this.versionId = versionId;
    this.pluginName = pluginName;
    this.principal = facts.principal;
    this.guard = facts.guard;
    this.options = options;
    this.cell = Object.freeze({ versionId, metadata, contentHash, pluginName, ...options });
  }

  /** Returns the error context of a call of `hook`. */
  contextOf(hook: HookKind): ErrorContext {
    return { plugin: this.pluginName, principal: this.principal, versionId: this.versionId, hook };
  }
}
