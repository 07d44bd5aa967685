/** What the commands share: how they speak, how they end, and the arguments that more than one takes. */
import { readFileSync } from 'node:fs';
import {
  defaultHotEngineConfig,
  type HotEngineConfigInput,
  lowLatencyHotEngineConfig,
  productionHotEngineConfig,
} from '../config.ts';
import { HOOK_KINDS, type HookKind } from '../types.ts';

/** Where a command writes; each call is a line or several. */
export interface Io {
  out(text: string): void;
  err(text: string): void;
}

/** Everything is as it should be. */
export const OK = 0;
/** The plugin was refused, or failed. */
export const PLUGIN_FAILED = 1;
/** The command was not understood, or a file could not be read. */
export const USAGE = 2;

/** A command that cannot be carried out as it was given. */
export class UsageError extends Error {}

/** One subcommand: what it is for, what it takes, and how it is done. Gives the exit code. */
export interface Command {
  readonly summary: string;
  readonly usage: string;
  readonly options: Readonly<Record<string, { readonly type: 'string' | 'boolean'; readonly short?: string }>>;
  run(values: Values, io: Io): Promise<number>;
}

/** The arguments of a subcommand. */
export interface Values {
  /** The path of the module. */
  readonly file: string;
  readonly flags: Readonly<Record<string, string | boolean | undefined>>;
}

/** The text of an option that takes one. */
export function textOf(values: Values, name: string): string | undefined {
  const value = values.flags[name];
  return typeof value === 'string' ? value : undefined;
}

/** A file's bytes. @throws UsageError */
export function readBytes(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new UsageError(`${path}: ${(error as Error).message}`);
  }
}

/** A file's JSON. @throws UsageError */
export function readJson(path: string): unknown {
  const text = readBytes(path).toString();
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UsageError(`${path}: ${(error as Error).message}`);
  }
}

/** `--config`: the name of a config, or a JSON file with its fields. @throws UsageError */
export function configOf(values: Values): HotEngineConfigInput {
  const name = textOf(values, 'config') ?? 'default';
  switch (name) {
    case 'default':
      return defaultHotEngineConfig();
    case 'production':
      return productionHotEngineConfig();
    case 'low-latency':
      return lowLatencyHotEngineConfig();
    default:
      return readJson(name) as HotEngineConfigInput;
  }
}

/** The hook that an option names. @throws UsageError */
export function hookOf(values: Values, name: string): HookKind | undefined {
  const hook = textOf(values, name);
  if (hook === undefined) return undefined;
  if (!(HOOK_KINDS as readonly string[]).includes(hook)) {
    throw new UsageError(`--${name}: expected one of ${HOOK_KINDS.join(', ')}`);
  }
  return hook as HookKind;
}

/** The whole number that an option gives. @throws UsageError */
export function countOf(values: Values, name: string): number | undefined {
  const text = textOf(values, name);
  if (text === undefined) return undefined;
  if (!/^\d{1,15}$/.test(text)) throw new UsageError(`--${name}: expected a whole number`);
  return Number(text);
}
