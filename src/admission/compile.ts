/** Compiles one module: in a process of its own or on a thread, while this thread blocks or its event loop goes on. */

import { setTimeout as sleep } from 'node:timers/promises';
import type { OpenEngine } from '../engine.ts';
import { ClosedError } from '../errors.ts';
import {
  type NativeCompilation,
  type NativeCompileOptions,
  type NativeFailure,
  type NativeModule,
  type NativeSource,
  native,
} from '../native/addon.ts';
import { compileCommand } from './compile-command.ts';

/** How soon this thread notices that a compilation has ended, in milliseconds: a tenth of its time, within these bounds. */
const LOOK_MS = { least: 1, most: 10 };

/** What is compiled. */
export interface CompileInput {
  readonly engine: OpenEngine;
  readonly source: NativeSource;
  readonly hash: string;
  readonly hasStart: boolean;
  /** Null is common to all modules that have no principal. */
  readonly principal: string | null;
}

/** A function that runs work off this thread when its turn comes. */
type OffThread = <T>(work: () => Promise<T>) => Promise<T>;

/** Compiles while this thread blocks. Throws CompileProcessError where no process may be started. */
export function compile(input: CompileInput): NativeModule | NativeFailure {
  const kept = input.engine.cacheDir?.find(...lookupOf(input));
  if (kept != null) return kept;
  const compilation = start(input, true);
  if ('failed' in compilation) return compilation;
  compilation.wait();
  return compilation.load();
}

/**
 * Compiles while the event loop goes on. Looking for the end by a timer needs nothing that must be released when the
 * thread ends, and no thread of libuv's pool. Rejects with `signal.reason` when aborted, with ClosedError when `closed`
 * says so, and as `compile` throws; the compilation ends with it.
 */
export async function compileAsync(
  input: CompileInput,
  offThread: OffThread,
  signal: AbortSignal | undefined,
  closed: () => boolean,
): Promise<NativeModule | NativeFailure> {
  const { cacheDir } = input.engine;
  const kept = cacheDir === null ? null : await offThread(() => cacheDir.findAsync(...lookupOf(input)));
  if (kept !== null) return kept;
  const compilation = start(input, false);
  if ('failed' in compilation) return compilation;
  const began = performance.now();
  try {
    while (!compilation.ended()) {
      const elapsed = performance.now() - began;
      await sleep(Math.min(LOOK_MS.most, Math.max(LOOK_MS.least, elapsed / 10)));
      signal?.throwIfAborted();
      if (closed()) throw new ClosedError();
    }
  } catch (error) {
    compilation.cancel();
    throw error;
  }
  return offThread(() => compilation.loadAsync());
}

function start(input: CompileInput, urgent: boolean): NativeCompilation | NativeFailure {
  const { config, native: engine } = input.engine;
  const options: NativeCompileOptions = {
    principal: input.principal,
    command: config.compileIn === 'thread' ? null : compileCommand(config),
    timeoutMs: config.compileTimeoutMs,
    maxBytes: config.maxCompileBytes,
    maxImageBytes: config.maxImageBytes,
    maxRunning: config.maxCompiles,
    maxTotalBytes: config.maxTotalCompileBytes,
    maxWaiting: config.maxQueuedCompiles,
    maxWaitingBytes: config.maxQueuedCompileBytes,
    urgent,
  };
  const { source, hash, hasStart } = input;
  return native.startCompile(engine, source, hash, hasStart, options, input.engine.cacheDir);
}

function lookupOf({ engine, source, hash, hasStart }: CompileInput) {
  return [engine.native, source, hash, hasStart, engine.config.maxImageBytes] as const;
}
