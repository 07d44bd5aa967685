/** Versions of slots: from an admitted module and the options of a registration to a frozen version. */
import * as z from 'zod';
import type { AdmittedModule } from './admission/admit.ts';
import { deadlineSchema, failurePolicySchema, type HotEngineConfig } from './config.ts';
import type { PluginFailurePolicy } from './policy/failure.ts';
import type { Cell } from './slots.ts';

/** What a slot may have of its own. What is left out is the runtime's, when registering again too. */
export interface SlotOptions {
  readonly failurePolicy?: PluginFailurePolicy | undefined;
  readonly deadlineMs?: number | undefined;
}

/** Options of a registration off this thread. */
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

/** Fills in what the runtime's config decides. */
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

/** A version whose public fields enumerate; the internal ones are there and do not. */
export function newCell(admitted: AdmittedModule, facts: Facts): Cell {
  const { versionId, pluginName, principal, guard, failurePolicy, deadlineMs } = facts;
  const { metadata, contentHash, module, editions } = admitted;
  const face = { versionId, metadata, contentHash, pluginName, failurePolicy, deadlineMs };
  for (const [name, value] of Object.entries({ principal, module, editions, guard })) {
    Object.defineProperty(face, name, { value });
  }
  return Object.freeze(face) as Cell;
}
