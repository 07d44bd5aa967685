import { setImmediate } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { contentHashOf } from '../../src/admission/admit.ts';
import {
  admitWasm,
  admitWasmAsync,
  buildHotEngine,
  InvalidArgumentError,
  inspectWasm,
  ModuleCompileError,
  ModuleRejectedError,
  ProbeFailedError,
  SlotKey,
} from '../../src/index.ts';
import { collector } from '../support/collector.ts';
import { thrown } from '../support/errors.ts';
import { guest, guestSections } from '../support/guest.ts';
import { plugin } from '../support/plugins.ts';
import { refusal } from '../support/refusal.ts';
import { isolatedRuntime, newRuntime, recorder } from '../support/runtimes.ts';
import { detach } from '../support/views.ts';
import { append, assemble } from '../support/wat.ts';

describe('contentHash', () => {
  it('is the BLAKE3 hash of policy version 1, the memory cap and the bytes', () => {
    // Computed with another implementation of BLAKE3 over both numbers as little-endian u32, followed by the bytes.
    for (const [memoryMaxPages, hash] of [
      [2048, '6c28ea3adb3057fede80988e810a37fd71554888327582d9eac496c7dc9fc031'],
      [7, 'f1efa89c03e848371ae4fe7bc1e727f0284ff481e40c9c3823015ca10717ee1c'],
    ] as const) {
      expect(contentHashOf(buildHotEngine({ memoryMaxPages }), Buffer.from('abc'))).toBe(hash);
    }
    const runtime = newRuntime();
    expect(admitWasm(runtime, guest()).contentHash).toBe(contentHashOf(buildHotEngine(), guest()));
  });
});

describe('admitWasm', () => {
  it('returns an admission that keeps its module for a registration, whatever the cache holds', async () => {
    const runtime = isolatedRuntime({ maxCachedModules: 0 });
    const admissions = [admitWasm(runtime, guest())];
    const compiled = () => runtime.stats().engine.cacheEvictions;
    expect(compiled()).toBe(1);
    for (let round = 0; round < 3; round++) {
      collector()();
      await setImmediate();
    }
    await runtime.registerFilterAsync(SlotKey.global('guest'), 'guest', guest());
    expect(compiled()).toBe(1);
    expect(admissions.pop()).toBeDefined();
  });

  it('returns the metadata, facts and content hash of an admitted module', async () => {
    const runtime = newRuntime();
    const admission = admitWasm(runtime, plugin('cache-aware'), 'filter');
    expect(admission.metadata.name).toBe('cache-aware');
    expect(admission.contentHash).toMatch(/^[0-9a-f]{64}$/);
    expect(admission).toEqual({ ...inspectWasm(plugin('cache-aware')), contentHash: admission.contentHash });
    expect(admission.hookVersions).toEqual({ filter: 1 });
    expect(await admitWasmAsync(runtime, plugin('cache-aware'))).toEqual(admission);
    expect(runtime.slotCount).toBe(0);
  });

  it('rejects a kind that the plugin does not declare, transforms included', () => {
    const runtime = newRuntime();
    for (const kind of ['shape', 'transform_response', 'transform_sse_event'] as const) {
      expect(() => admitWasm(runtime, plugin('transforms'), kind)).not.toThrow();
      expect(() => admitWasm(runtime, plugin('cache-aware'), kind)).toThrow(ModuleRejectedError);
    }
  });

  it('returns an admitted module from the cache, and rejects a kind that it lacks', () => {
    const { sink, take } = recorder();
    const runtime = isolatedRuntime({}, { metrics: sink });
    admitWasm(runtime, plugin('cache-aware'));
    expect(take()).toHaveLength(2);
    admitWasm(runtime, plugin('cache-aware'), 'filter');
    runtime.registerFilter(SlotKey.global('k'), 'n', plugin('cache-aware'));
    expect(take()).toEqual([]);
    const error = thrown(ModuleRejectedError, () => admitWasm(runtime, plugin('cache-aware'), 'shape'));
    expect(error.reason).toMatch(/hooks\.shape: not declared/);
  });

  it('does not cache a module that compiled and failed its probe', () => {
    const runtime = isolatedRuntime({ deadlineMs: 30 });
    const bytes = guest({ hook: 'unreachable' });
    for (const _ of [1, 2]) expect(() => admitWasm(runtime, bytes)).toThrow(ProbeFailedError);
  });

  it('copies the bytes once, so that later changes have no effect', async () => {
    const runtime = isolatedRuntime();
    const bytes = Buffer.from(guest());
    const hash = admitWasm(newRuntime(), bytes).contentHash;
    const admitted = admitWasmAsync(runtime, bytes);
    bytes.fill(0);
    expect((await admitted).contentHash).toBe(hash);
  });

  it('throws the first problem that inspectWasm lists', async () => {
    const bytes = append(assemble('(module (import "a" "b" (func)))'), ...guestSections());
    const error = await refusal(bytes);
    expect(error).toBeInstanceOf(ModuleRejectedError);
    expect(error).toMatchObject({ code: 'CC_LB_MODULE_REJECTED', reason: inspectWasm(bytes).problems[0] });
    expect(error.plugin).toBe('guest');
  });

  it.each([
    ['random bytes', Buffer.from('c0ffee')],
    ['no bytes', new Uint8Array(0)],
    ['a truncated module', plugin('cache-aware').subarray(0, 5000)],
  ])('rejects %s', async (_, bytes) => {
    expect(await refusal(bytes)).toMatchObject({ reason: expect.stringContaining('not a wasm module') });
  });

  it('rejects bytes whose buffer is detached', () => {
    const bytes = Uint8Array.from(guest());
    detach(bytes);
    const error = thrown(InvalidArgumentError, () => admitWasm(newRuntime(), bytes));
    expect(error.message).toMatch(/^bytes: .*detached/);
  });

  it('rejects more bytes than maxModuleBytes', async () => {
    const maxModuleBytes = guest().length;
    expect(() => admitWasm(newRuntime({ maxModuleBytes }), guest())).not.toThrow();
    const error = await refusal(guest(), { maxModuleBytes: maxModuleBytes - 1 });
    expect(error).toBeInstanceOf(ModuleRejectedError);
    expect(error.message).toContain(`more than maxModuleBytes (${maxModuleBytes - 1})`);
  });

  it('rejects a module that passes inspection and fails validation', async () => {
    const error = await refusal(guest({ hook: 'i32.const 1' }));
    expect(error).toBeInstanceOf(ModuleCompileError);
    expect(error.message).toMatch(/^the module does not compile: .*type mismatch/);
    expect(error.plugin).toBe('guest');
  });
});
