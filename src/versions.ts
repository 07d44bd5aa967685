/** Versions of slots: from an admitted module and the options of a registration to a frozen version. */
import * as z from 'zod';
import type { AdmittedModule } from './admission/admit.ts';
import { deadlineSchema, failurePolicySchema, type HotEngineConfig } from './config.ts';
import type { PluginFailurePolicy } from './policy/failure.ts';
import type { Cell } from './slots.ts';

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

/** The options of a version, complete. */
export type VersionOptions = Pick<Cell, 'failurePolicy' | 'deadlineMs'>;

/** Completes the options from the runtime's config. */
export function versionOptions({ failurePolicy, deadlineMs }: SlotOptions, config: HotEngineConfig): VersionOptions {
  return {
    failurePolicy: failurePolicy ?? config.pluginFailurePolicy,
    deadlineMs: deadlineMs ?? config.deadlineMs,
  };
}

/** Whether the version has these options. */
export function hasOptions(cell: Cell, options: VersionOptions): boolean {
  return cell.failurePolicy === options.failurePolicy && cell.deadlineMs === options.deadlineMs;
}

type Facts = VersionOptions & Pick<Cell, 'versionId' | 'pluginName' | 'principal' | 'guard'>;

/** Creates a version whose public fields are enumerable and whose internal fields are not. */
export function newCell(admitted: AdmittedModule, facts: Facts): Cell {
  const { versionId, pluginName, principal, guard, failurePolicy, deadlineMs } = facts;
  const { metadata, contentHash, module, editions } = admitted;
  const face = { versionId, metadata, contentHash, pluginName, failurePolicy, deadlineMs };
  for (const [name, value] of Object.entries({ principal, module, editions, guard })) {
    Object.defineProperty(face, name, { value });
  }
  return Object.freeze(face) as Cell;
}
