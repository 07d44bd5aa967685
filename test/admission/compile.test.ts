/** Compiling in a separate process and on a thread: limits, every kind of process exit, and the resulting errors. */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { beforeEach, describe, expect, it } from 'vitest';
import {
  admitWasm,
  admitWasmAsync,
  ClosedError,
  CompileProcessError,
  ModuleCompileError,
  PoolSaturatedError,
  SlotKey,
  type WasmtimeRuntime,
} from '../../src/index.ts';
import { children, childrenUntil, compilingChild } from '../support/children.ts';
import { descriptorCount } from '../support/descriptors.ts';
import { rejected, thrown } from '../support/errors.ts';
import { guest } from '../support/guest.ts';
import { plugin } from '../support/plugins.ts';
import { isolatedRuntime, recorder, STRATEGIES } from '../support/runtimes.ts';
import { unique } from '../support/unique.ts';
import { HOSTILE_MODULES } from '../torture/hostile-modules.ts';

const ON_LINUX = process.platform === 'linux';
const HAS_FILTERS = ON_LINUX && readFileSync('/proc/self/status', 'utf8').includes('Seccomp:');
/** Compiles for minutes if nothing stops it. */
const slow = () => unique(HOSTILE_MODULES['loops nested 50,000 deep']!());
const fresh = () => unique(guest());
/** Limits of which only the time limit can stop the compiler. */
const ROOMY = { maxCompileBytes: 8 * 2 ** 30, maxTotalCompileBytes: 64 * 2 ** 30 };

const COMPILE_IN: { compileIn: 'process' | 'thread' }[] = [{ compileIn: 'process' }, { compileIn: 'thread' }];

describe.each(COMPILE_IN)('compiling in a $compileIn', (place) => {
  it.each(STRATEGIES)('admits a plugin, allocated $strategy', async ({ config }) => {
    const runtime = isolatedRuntime({ ...config, ...place });
    expect(admitWasm(runtime, plugin('cache-aware')).metadata.name).toBe('cache-aware');
    expect((await admitWasmAsync(runtime, plugin('rewrite'))).metadata.name).toBe('rewrite');
  });

  it('admits a plugin whose initial data is mapped instead of copied', () => {
    const data = `(data (i32.const 65536) "${'x'.repeat(400_000)}")`;
    const runtime = isolatedRuntime(place);
    expect(admitWasm(runtime, guest({ memory: '20', fields: data })).metadata.name).toBe('guest');
  });

  it('reports the error of the compiler', () => {
    const bytes = guest({
      hook: '(drop (i64.const 1)) (drop (memory.atomic.notify (i32.const 0) (i32.const 1))) $answer',
    });
    const error = thrown(ModuleCompileError, () => admitWasm(isolatedRuntime(place), bytes));
    expect(error).toMatchObject({ reason: 'invalid', retryable: false });
    expect(error.message).toMatch(/^the module does not compile: .*threads/);
  });

  it('ends at its time limit, blocking and asynchronously', async () => {
    const runtime = isolatedRuntime({ ...place, compileTimeoutMs: 50, maxCompiles: 8 });
    // A thread continues until it has compiled these, so they must not take minutes.
    const long = () => unique(HOSTILE_MODULES['200 functions of 1,000 loads']!());
    const error = await rejected(ModuleCompileError, admitWasmAsync(runtime, long()));
    expect(error).toMatchObject({ reason: 'time', retryable: false });
    expect(error.message).toContain('compileTimeoutMs (50)');
    expect(thrown(ModuleCompileError, () => admitWasm(runtime, long())).reason).toBe('time');
  });

  it('rejects an image that exceeds maxImageBytes', () => {
    const runtime = isolatedRuntime({ ...place, maxImageBytes: 2 ** 20 });
    const data = `(data (i32.const 65536) "${'x'.repeat(2 ** 20)}")`;
    const large = guest({ memory: '20', fields: data });
    expect(thrown(ModuleCompileError, () => admitWasm(runtime, large)).reason).toBe('image');
  });

  it('continues while the event loop is blocked', async () => {
    const runtime = isolatedRuntime(place);
    const pending = admitWasmAsync(runtime, fresh());
    // Blocks this thread while the other compilation is running.
    expect(admitWasm(runtime, fresh()).metadata.name).toBe('guest');
    expect((await pending).metadata.name).toBe('guest');
  });
});

describe('the compile process', () => {
  // One that ends would be taken for that of the next test.
  beforeEach(async () => {
    if (ON_LINUX) await childrenUntil((count) => count === 0);
  });

  it('fails when it exceeds maxCompileBytes', async () => {
    const runtime = isolatedRuntime({ maxCompileBytes: 64 * 2 ** 20, compileSpareMs: 0 });
    const error = await rejected(ModuleCompileError, admitWasmAsync(runtime, slow()));
    expect(error).toMatchObject({ reason: 'memory', retryable: false });
    expect(error.message).toContain(`maxCompileBytes (${64 * 2 ** 20})`);
  });

  it.runIf(ON_LINUX).each([
    ['SIGTRAP', ModuleCompileError, { reason: 'crash', retryable: false }],
    ['SIGABRT', ModuleCompileError, { reason: 'crash', retryable: false }],
    ['SIGKILL', CompileProcessError, { retryable: true }],
    ['SIGTERM', CompileProcessError, { retryable: true }],
  ] as const)('that ends by %s is reported with the matching error', async (signal, kind, expected) => {
    const runtime = isolatedRuntime({ ...ROOMY, compileSpareMs: 0 });
    const failed = rejected<Error>(kind, admitWasmAsync(runtime, slow()));
    process.kill(await compilingChild(), signal);
    expect(await failed).toMatchObject(expected);
    expect(admitWasm(runtime, fresh()).metadata.name).toBe('guest');
  });

  it.runIf(ON_LINUX)('inherits nothing and limits itself', async () => {
    const runtime = isolatedRuntime({ ...ROOMY, compileSpareMs: 0, compileTimeoutMs: 30_000 });
    const stop = new AbortController();
    const key = new SlotKey('p', 'slow');
    const failed = rejected(Error, runtime.registerFilterAsync(key, 'slow', slow(), { signal: stop.signal }));
    const pid = await compilingChild();
    const read = (name: string) => readFileSync(`/proc/${pid}/${name}`, 'utf8');
    const environment = read('environ').split('\0').filter(Boolean);
    expect(environment.filter((variable) => !variable.startsWith('LD_LIBRARY_PATH='))).toEqual([
      'CC_LB_RUNTIME_WASMTIME_COMPILE_PROCESS=1',
    ]);
    const limit = (name: string) => new RegExp(`${name} +(\\S+)`).exec(read('limits'))?.[1];
    expect(limit('Max core file size')).toBe('0');
    expect(limit('Max open files')).toBe('0');
    expect(limit('Max file size')).toBe('0');
    expect(Number(limit('Max data size'))).toBeGreaterThan(ROOMY.maxCompileBytes);
    expect(Number(limit('Max data size'))).toBeLessThan(ROOMY.maxCompileBytes + 2 ** 29);
    expect(Number(limit('Max cpu time'))).toBeLessThan(60);
    expect(read('oom_score_adj').trim()).toBe('1000');
    expect(read('status')).toMatch(/NoNewPrivs:\s+1/);
    // 2 is the mode of a filter. Every thread has it.
    const filters = () =>
      readdirSync(`/proc/${pid}/task`).map((thread) => /Seccomp:\s+(\d)/.exec(read(`task/${thread}/status`))?.[1]);
    if (HAS_FILTERS) await expect.poll(() => new Set(filters())).toEqual(new Set(['2']));
    stop.abort(new Error('enough'));
    expect((await failed).message).toBe('enough');
  });

  it.runIf(ON_LINUX)('is killed when its registration is aborted or its runtime is closed', async () => {
    await childrenUntil((count) => count === 0);
    for (const how of ['abort', 'close'] as const) {
      const runtime = isolatedRuntime({ ...ROOMY, compileSpareMs: 0 });
      const stop = new AbortController();
      const options = { signal: stop.signal };
      const failed = rejected(Error, runtime.registerFilterAsync(new SlotKey('p', how), how, slow(), options));
      await compilingChild();
      if (how === 'abort') stop.abort(new Error('enough'));
      else runtime.close();
      const error = await failed;
      if (how === 'abort') expect(error.message).toBe('enough');
      else expect(error).toBeInstanceOf(ClosedError);
      await childrenUntil((count) => count === 0);
    }
  });

  it('of a closed runtime is not started if it was waiting', async () => {
    const running = isolatedRuntime({ ...ROOMY, maxCompiles: 1 });
    const closing = isolatedRuntime({ ...ROOMY, maxCompiles: 1 });
    const stop = new AbortController();
    const options = { signal: stop.signal };
    const held = rejected(Error, running.registerFilterAsync(new SlotKey('p', 'held'), 'held', slow(), options));
    await expect.poll(() => running.stats().engine.runningCompiles).toBe(1);
    const waiting = rejected(ClosedError, admitWasmAsync(closing, fresh()));
    await expect.poll(() => running.stats().engine.queuedCompiles).toBe(1);
    closing.close();
    await waiting;
    expect(running.stats().engine).toMatchObject({ runningCompiles: 1, queuedCompiles: 0 });
    stop.abort(new Error('enough'));
    await held;
  });

  it.runIf(ON_LINUX)('leaves no descriptor, thread, or zombie', async () => {
    const runtime = isolatedRuntime({ compileSpareMs: 0, ...ROOMY });
    const impatient = isolatedRuntime({ compileSpareMs: 0, compileTimeoutMs: 300, ...ROOMY });
    const count = (folder: string) =>
      readFileSync('/proc/self/status', 'utf8').match(new RegExp(`${folder}:\\s+(\\d+)`))![1];
    // The pipes of a process are closed just after it is reaped, so the counts are those that two readings agree on.
    const counts = async () => {
      await childrenUntil((found) => found === 0);
      for (let last: unknown; ; ) {
        const now = [descriptorCount(), count('Threads')];
        if (isDeepStrictEqual(now, last)) return now;
        last = now;
        await sleep(50);
      }
    };
    await admitWasmAsync(runtime, fresh());
    const before = await counts();
    for (let round = 0; round < 5; round++) {
      await admitWasmAsync(runtime, fresh());
      admitWasm(runtime, fresh());
    }
    await rejected(ModuleCompileError, admitWasmAsync(impatient, slow()));
    expect(await counts()).toEqual(before);
  });

  it.runIf(ON_LINUX)('waits compileSpareMs for the next module', async () => {
    await childrenUntil((count) => count === 0);
    const runtime = isolatedRuntime({ compileSpareMs: 500 });
    admitWasm(runtime, fresh());
    const [spare] = await childrenUntil((count) => count === 1);
    admitWasm(runtime, fresh());
    await childrenUntil((count) => count === 1 && !children().includes(spare!));
    await childrenUntil((count) => count === 0);
  });
});

describe('compilations of several principals', () => {
  /** Registers modules that compile until they are aborted. */
  function attack(runtime: WasmtimeRuntime, principal: string, count: number) {
    const stop = new AbortController();
    const settled = Array.from({ length: count }, (_, index) => {
      const key = new SlotKey(principal, `slow-${index}`);
      return runtime.registerFilterAsync(key, 'slow', slow(), { signal: stop.signal }).then(
        () => undefined,
        (error: unknown) => error,
      );
    });
    return { settled, stop: () => stop.abort(new Error('enough')) };
  }

  it('do not wait for each other', async () => {
    const runtime = isolatedRuntime({ ...ROOMY, maxCompiles: 2 });
    const hostile = attack(runtime, 'hostile', 3);
    for (let round = 0; round < 3; round++) {
      const key = new SlotKey(`ordinary-${round}`, 'plugin');
      await runtime.registerFilterAsync(key, 'plugin', fresh());
      runtime.registerFilter(new SlotKey(`blocking-${round}`, 'plugin'), 'plugin', fresh());
    }
    const counts = () => runtime.stats().engine;
    await expect.poll(counts).toMatchObject({ runningCompiles: 1, queuedCompiles: 2 });
    hostile.stop();
    for (const error of await Promise.all(hostile.settled)) expect(error).toMatchObject({ message: 'enough' });
  });

  it('are saturated only for the principal that has used up its share of the queue', async () => {
    const { sink: metrics, lines } = recorder();
    const runtime = isolatedRuntime({ ...ROOMY, maxCompiles: 2, maxQueuedCompiles: 2 }, { metrics });
    const hostile = attack(runtime, 'hostile', 3);
    const first = await Promise.race(hostile.settled);
    expect(first).toBeInstanceOf(PoolSaturatedError);
    expect(first).toMatchObject({ resource: 'compile', retryable: true });
    expect(lines).toContain('saturation compile');
    await runtime.registerFilterAsync(new SlotKey('ordinary', 'plugin'), 'plugin', fresh());
    hostile.stop();
    await Promise.all(hostile.settled);
  });

  it('fail immediately if the same module recently exceeded the same limits', async () => {
    const runtime = isolatedRuntime({ ...ROOMY, compileTimeoutMs: 100 });
    const bytes = slow();
    const first = await rejected(ModuleCompileError, admitWasmAsync(runtime, bytes));
    const again = thrown(ModuleCompileError, () => admitWasm(runtime, bytes));
    expect(again.reason).toBe('time');
    expect(again.message.startsWith(`${first.message} (as found before`)).toBe(true);
    const longer = isolatedRuntime({ ...ROOMY, compileTimeoutMs: 200 });
    const other = thrown(ModuleCompileError, () => admitWasm(longer, bytes));
    expect(other.message).not.toContain('as found before');
  });
});
