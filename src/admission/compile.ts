/** Compiles one module in a separate process or on a thread, while this thread blocks or its event loop continues. */

import { setTimeout as sleep } from 'node:timers/promises';
import type { OpenEngine } from '../engine.ts';
import { ClosedError } from '../errors.ts';
import {
  type NativeCompilation,
  type NativeCompileOptions,
  type NativeContent,
  type NativeFailure,
  type NativeModule,
  type NativeSource,
  native,
} from '../native/addon.ts';
import { compileCommand } from './compile-command.ts';

/**
 * Interval in milliseconds of polling for the end of a compilation: a tenth of the elapsed time, within these bounds.
 */
const POLL_MS = { min: 1, max: 10 };

/** The module to compile. */
export interface CompileInput {
  readonly engine: OpenEngine;
  readonly source: NativeSource;
  readonly hash: string;
  /** The owner of the module; null is shared by all modules without one. */
  readonly principal: string | null;
}

/** A function that queues work to run off this thread. */
type OffThread = <T>(work: () => Promise<T>) => Promise<T>;

/** Compiles while this thread blocks. Throws CompileProcessError if this process cannot start a compile process. */
export function compile(input: CompileInput): NativeModule | NativeFailure {
  const { cacheDir, config } = input.engine;
  const content = contentOf(input);
  const cached = cacheDir?.find(content, config.maxImageBytes);
  if (cached != null) return cached;
  const compilation = start(input, content, true);
  if ('failed' in compilation) return compilation;
  compilation.wait();
  return compilation.load();
}

/**
 * Compiles while the event loop continues. Polling by a timer needs no resource that must be released when the thread
 * ends, and no thread of libuv's pool. Rejects with `signal.reason` if aborted, with ClosedError if `closed` returns
 * true, and with what `compile` throws. A rejection cancels the compilation.
 */
export async function compileAsync(
  input: CompileInput,
  offThread: OffThread,
  signal: AbortSignal | undefined,
  closed: () => boolean,
): Promise<NativeModule | NativeFailure> {
  const { cacheDir, config } = input.engine;
  const content = contentOf(input);
  const cached = cacheDir === null ? null : await offThread(() => cacheDir.findAsync(content, config.maxImageBytes));
  if (cached !== null) return cached;
  const compilation = start(input, content, false);
  if ('failed' in compilation) return compilation;
  const began = performance.now();
  try {
    while (!compilation.ended()) {
      const elapsed = performance.now() - began;
      await sleep(Math.min(POLL_MS.max, Math.max(POLL_MS.min, elapsed / 10)));
      signal?.throwIfAborted();
      if (closed()) throw new ClosedError();
    }
  } catch (error) {
    compilation.cancel();
    throw error;
  }
  return offThread(() => compilation.loadAsync());
}

function start(
  { engine, principal }: CompileInput,
  content: NativeContent,
  urgent: boolean,
): NativeCompilation | NativeFailure {
  const { config, cacheDir } = engine;
  const options: NativeCompileOptions = {
    principal,
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
  return native.startCompile(content, options, cacheDir);
}

function contentOf({ engine, source, hash }: CompileInput): NativeContent {
  return new native.NativeContent(engine.native, source, hash);
}
