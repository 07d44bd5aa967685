/** Shared by the commands: output, exit codes, and the arguments of more than one command. */
import { readFileSync } from 'node:fs';
import {
  defaultHotEngineConfig,
  type HotEngineConfigInput,
  lowLatencyHotEngineConfig,
  productionHotEngineConfig,
} from '../config.ts';
import { HOOK_KINDS, type HookKind } from '../types.ts';

/** The output of a command; each call writes one or more lines. */
export interface Io {
  out(text: string): void;
  err(text: string): void;
}

/** Exit code: success. */
export const OK = 0;
/** Exit code: the plugin was rejected, or its call failed. */
export const PLUGIN_FAILED = 1;
/** Exit code: the command line is invalid, or a file cannot be read. */
export const USAGE = 2;

/** The command line is invalid, or one of its files cannot be used. */
export class UsageError extends Error {}

/** A subcommand: its help and options, and `run`, which returns the exit code. */
export interface Command {
  readonly summary: string;
  /** Its command lines without the name of the program. */
  readonly usage: readonly string[];
  readonly options: Readonly<Record<string, Option>>;
  /** A flag with which the command reads no module. */
  readonly withoutFile?: string;
  run(values: Values, io: Io): Promise<number>;
}

/** An option of a subcommand. */
export interface Option {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  /** Its description in the help. */
  readonly help: string;
}

/** The options of more than one command. */
export const OPTIONS = {
  kind: { type: 'string', short: 'k', help: 'a hook that the module must declare' },
  hook: { type: 'string', short: 'k', help: 'the hook to call' },
  request: {
    type: 'string',
    short: 'r',
    help: 'a request in the form that call --print-sample prints; by default the sample',
  },
  config: { type: 'string', short: 'c', help: 'the config of the runtime, see below' },
  deadline: { type: 'string', help: 'the deadline of the call in milliseconds; by default that of the config' },
  json: { type: 'boolean', help: 'print JSON on stdout, errors included' },
} as const satisfies Readonly<Record<string, Option>>;

/** The arguments of a subcommand. */
export interface Values {
  /** The path of the module; empty under the flag `withoutFile`. */
  readonly file: string;
  readonly flags: Readonly<Record<string, string | boolean | undefined>>;
}

/** Returns the value of a string option; undefined when it is omitted. */
export function textOf(values: Values, name: string): string | undefined {
  const value = values.flags[name];
  return typeof value === 'string' ? value : undefined;
}

/** Reads the bytes of a file. @throws UsageError */
export function readBytes(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new UsageError(`${path}: ${(error as Error).message}`);
  }
}

/** Reads and parses a JSON file. @throws UsageError */
export function readJson(path: string): unknown {
  const text = readBytes(path).toString();
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UsageError(`${path}: ${(error as Error).message}`);
  }
}

/** Returns the config of `--config`, which is the name of a config or the path of a JSON file. @throws UsageError */
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
      return configFile(name);
  }
}

function configFile(path: string): HotEngineConfigInput {
  try {
    return readJson(path) as HotEngineConfigInput;
  } catch (error) {
    const expected = 'expected default, production, low-latency, or a JSON file';
    throw new UsageError(`--config: ${expected}: ${(error as Error).message}`);
  }
}

/** Returns the hook that an option names; undefined when it is omitted. @throws UsageError */
export function hookOf(values: Values, name: string): HookKind | undefined {
  const hook = textOf(values, name);
  if (hook === undefined) return undefined;
  if (!(HOOK_KINDS as readonly string[]).includes(hook)) {
    throw new UsageError(`--${name}: expected one of ${HOOK_KINDS.join(', ')}`);
  }
  return hook as HookKind;
}

/** Returns the hook to call, which `--hook` names. @throws UsageError */
export function calledHookOf(values: Values): HookKind {
  const hook = hookOf(values, 'hook');
  if (hook === undefined) throw new UsageError('--hook: expected the hook to call');
  return hook;
}

/** Returns the integer of an option, at least `min`; undefined when it is omitted. @throws UsageError */
export function countOf(values: Values, name: string, min: 0 | 1): number | undefined {
  const text = textOf(values, name);
  if (text === undefined) return undefined;
  if (!/^\d{1,15}$/.test(text) || Number(text) < min) {
    throw new UsageError(`--${name}: expected an integer of at least ${min}`);
  }
  return Number(text);
}
