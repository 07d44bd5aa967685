/** Equal modules that are submitted at the same time: one compilation serves all of them. */
import { beforeEach, describe, expect, it } from 'vitest';
import {
  admitWasm,
  admitWasmAsync,
  ClosedError,
  CompileProcessError,
  ModuleCompileError,
  SlotKey,
  type WasmtimeRuntime,
} from '../../src/index.ts';
import { childrenUntil, compilingChild } from '../support/children.ts';
import { rejected } from '../support/errors.ts';
import { guest } from '../support/guest.ts';
import { isolatedRuntime } from '../support/runtimes.ts';
import { unique } from '../support/unique.ts';
import { HOSTILE_MODULES } from '../torture/hostile-modules.ts';

const ON_LINUX = process.platform === 'linux';
/** Compiles for minutes if nothing stops it. */
const slow = () => unique(HOSTILE_MODULES['loops nested 50,000 deep']!());
/** Compiles for a fraction of a second or longer. */
const long = () => unique(HOSTILE_MODULES['200 functions of 1,000 loads']!());
const ROOMY = { maxCompileBytes: 8 * 2 ** 30, maxTotalCompileBytes: 64 * 2 ** 30, maxCompiles: 8, compileSpareMs: 0 };
const COMPILE_IN: { compileIn: 'process' | 'thread' }[] = [{ compileIn: 'process' }, { compileIn: 'thread' }];

const counts = (runtime: WasmtimeRuntime) => {
  const { runningCompiles, queuedCompiles } = runtime.stats().engine;
  return [runningCompiles, queuedCompiles];
};

/** Registers the module for a principal until it is aborted. */
function register(runtime: WasmtimeRuntime, principal: string, bytes: Uint8Array) {
  const stop = new AbortController();
  const key = new SlotKey(principal, 'plugin');
  const registered = runtime.registerFilterAsync(key, 'plugin', bytes, { signal: stop.signal });
  registered.catch(() => undefined);
  return { registered, abort: () => stop.abort(new Error('enough')) };
}

beforeEach(async () => {
  // A thread continues after its time limit.
  await expect.poll(() => counts(isolatedRuntime())).toEqual([0, 0]);
  if (ON_LINUX) await childrenUntil((count) => count === 0);
});

describe.each(COMPILE_IN)('equal modules compiled in a $compileIn', (place) => {
  it('are compiled once for every principal and every runtime', async () => {
    const [runtime, other] = [isolatedRuntime({ ...ROOMY, ...place }), isolatedRuntime({ ...ROOMY, ...place })];
    const bytes = long();
    const pending = [register(runtime, 'a', bytes), register(runtime, 'b', bytes), register(other, 'c', bytes)];
    await expect.poll(() => counts(runtime)).toEqual([1, 2]);
    const slots = await Promise.all(pending.map(({ registered }) => registered));
    expect(new Set(slots.map((slot) => slot.current.contentHash)).size).toBe(1);
    await expect.poll(() => counts(runtime)).toEqual([0, 0]);
  });

  it('serve a blocking admission too', async () => {
    const runtime = isolatedRuntime({ ...ROOMY, ...place });
    const bytes = long();
    const pending = admitWasmAsync(runtime, bytes);
    await expect.poll(() => counts(runtime)).toEqual([1, 0]);
    expect(admitWasm(runtime, bytes).metadata.name).toBe('guest');
    expect((await pending).metadata.name).toBe('guest');
  });

  it('fail with the same error', async () => {
    const runtime = isolatedRuntime({ ...ROOMY, ...place, compileTimeoutMs: 50 });
    const bytes = long();
    const failed = ['a', 'b', 'c'].map((name) =>
      rejected(ModuleCompileError, register(runtime, name, bytes).registered),
    );
    for (const { reason, message } of await Promise.all(failed)) {
      expect(reason).toBe('time');
      expect(message).toContain('compileTimeoutMs (50)');
    }
    expect(runtime.stats().engine.queuedCompiles).toBe(0);
  });
});

describe('equal modules', () => {
  it.runIf(ON_LINUX)('are compiled until nothing waits for them', async () => {
    const [runtime, other] = [isolatedRuntime(ROOMY), isolatedRuntime(ROOMY)];
    const bytes = slow();
    const first = register(runtime, 'a', bytes);
    const pid = await compilingChild();
    const [second, third] = [register(runtime, 'b', bytes), register(other, 'c', bytes)];
    await expect.poll(() => counts(runtime)).toEqual([1, 2]);

    first.abort();
    expect((await rejected(Error, first.registered)).message).toBe('enough');
    other.close();
    await rejected(ClosedError, third.registered);
    await expect.poll(() => counts(runtime)).toEqual([1, 1]);
    expect(await compilingChild()).toBe(pid);

    second.abort();
    expect((await rejected(Error, second.registered)).message).toBe('enough');
    await childrenUntil((count) => count === 0);
    await expect.poll(() => counts(runtime)).toEqual([0, 0]);
  });

  it.runIf(ON_LINUX)('fail together if their process is killed', async () => {
    const runtime = isolatedRuntime(ROOMY);
    const bytes = slow();
    const pending = [register(runtime, 'a', bytes), register(runtime, 'b', bytes)];
    await expect.poll(() => counts(runtime)).toEqual([1, 1]);
    process.kill(await compilingChild(), 'SIGKILL');
    for (const { registered } of pending) {
      expect((await rejected(CompileProcessError, registered)).retryable).toBe(true);
    }
    await childrenUntil((count) => count === 0);
  });

  it('do not delay other modules of their principals', async () => {
    const runtime = isolatedRuntime(ROOMY);
    const bytes = slow();
    const pending = [register(runtime, 'a', bytes), register(runtime, 'b', bytes)];
    await expect.poll(() => counts(runtime)).toEqual([1, 1]);
    await runtime.registerFilterAsync(new SlotKey('b', 'other'), 'other', unique(guest()));
    // A process counts until it is reaped, which may be after its result has arrived.
    await expect.poll(() => counts(runtime)).toEqual([1, 1]);
    for (const { abort } of pending) abort();
  });

  it('are compiled separately under other limits', async () => {
    const [runtime, other] = [isolatedRuntime(ROOMY), isolatedRuntime({ ...ROOMY, compileTimeoutMs: 20_000 })];
    const bytes = slow();
    const pending = [register(runtime, 'a', bytes), register(other, 'b', bytes)];
    await expect.poll(() => counts(runtime)).toEqual([2, 0]);
    for (const { abort } of pending) abort();
  });
});
