import { describe, expect, it } from 'vitest';
import {
  admitWasm,
  GuestTrapError,
  InstantiateFailedError,
  ModuleCompileError,
  ModuleRejectedError,
  ProbeFailedError,
} from '../../src/index.ts';
import type { HookKind } from '../../src/types.ts';
import { WireError } from '../../src/wire/decode.ts';
import { type GuestParts, guest } from '../support/guest.ts';
import { refusal } from '../support/refusal.ts';
import { newRuntime, STRATEGIES } from '../support/runtimes.ts';

const HOOKS: HookKind[] = ['filter', 'shape', 'observe'];
const LOOP = '(loop $l br $l)';
const packed = (pointer: number, length: number) => `i64.const ${(BigInt(pointer) << 32n) | BigInt(length)}`;
/** Two pages. */
const MEMORY = 131_072;

describe.each(HOOKS)('probe of %s', (hook) => {
  const probed = (parts: GuestParts) => refusal(guest({ hooks: [hook], ...parts }), { deadlineMs: 30 });

  it.each([
    ['alloc returns null', { alloc: 'i32.const 0' }, 'cc_lb_alloc', 'unknown'],
    ['alloc traps', { alloc: 'unreachable' }, 'cc_lb_alloc', 'unreachable-code-reached'],
    ['alloc loops', { alloc: `${LOOP} i32.const 8` }, 'cc_lb_alloc', 'interrupt'],
    ['alloc returns the address after the memory', { alloc: `i32.const ${MEMORY}` }, 'memory.write', 'unknown'],
    [
      'alloc returns an address with too few bytes left',
      { alloc: `i32.const ${MEMORY - 2}` },
      'memory.write',
      'unknown',
    ],
    ['alloc returns -1', { alloc: 'i32.const -1' }, 'memory.write', 'unknown'],
    ['hook traps', { hook: 'unreachable' }, `cc_lb_${hook}`, 'unreachable-code-reached'],
    ['hook loops', { hook: `${LOOP} $answer` }, `cc_lb_${hook}`, 'interrupt'],
  ])('rejects a guest whose %s', async (_, parts, phase, trap) => {
    const error = await probed(parts);
    expect(error).toBeInstanceOf(ProbeFailedError);
    expect(error).toMatchObject({ code: 'CC_LB_PROBE_FAILED', hook, plugin: 'guest', retryable: trap === 'interrupt' });
    expect(error.message).toContain(`probe of hook ${hook} failed: guest trap during ${phase}: `);
    expect(error.cause).toBeInstanceOf(GuestTrapError);
    expect(error.cause).toMatchObject({ phase, trap, hook });
  });

  const I64 = '(param i32 i32) (result i64)';
  it.each([
    ['hook returns an i32', { types: { hook: '(param i32 i32) (result i32)' }, hook: 'i32.const 0' }, `cc_lb_${hook}`],
    ['hook takes i64s', { types: { hook: '(param i64 i64) (result i64)' } }, `cc_lb_${hook}`],
    ['hook takes three parameters', { types: { hook: '(param i32 i32 i32) (result i64)' } }, `cc_lb_${hook}`],
    ['hook returns nothing', { types: { hook: '(param i32 i32)' }, hook: '' }, `cc_lb_${hook}`],
    ['hook returns two values', { types: { hook: `${I64} (result i64)` }, hook: '$answer $answer' }, `cc_lb_${hook}`],
    ['alloc takes i64s', { types: { alloc: '(param i64 i64) (result i32)' } }, 'cc_lb_alloc'],
    ['alloc returns nothing', { types: { alloc: '(param i32 i32)' }, alloc: '' }, 'cc_lb_alloc'],
    ['free takes two parameters', { types: { free: '(param i32 i32)' } }, 'cc_lb_free'],
  ])('rejects a guest whose %s', async (_, parts, culprit) => {
    const error = await probed(parts);
    expect(error).toBeInstanceOf(ProbeFailedError);
    expect(error.hook).toBe(hook);
    expect(error.message).toMatch(new RegExp(`\`${culprit}\` has type .*, expected .*`));
    expect(error.cause).toBeInstanceOf(ModuleRejectedError);
  });

  it.each([
    ['has a null pointer', packed(0, 8), 'returned pointer 0 and length 8'],
    ['has length 0', packed(1024, 0), 'returned pointer 1024 and length 0'],
    ['ends one byte after the memory', packed(MEMORY - 8, 9), `returned 9 bytes at ${MEMORY - 8}, out of bounds`],
    ['starts after the memory', packed(MEMORY, 1), 'out of bounds'],
    ['ends past 2^32', packed(0xffff_ffff, 0xffff_ffff), 'returned 4294967295 bytes at 4294967295, out of bounds'],
  ])('rejects a guest whose answer %s', async (_, answer, named) => {
    const error = await probed({ hook: answer });
    expect(error).toBeInstanceOf(ProbeFailedError);
    expect(error.message).toContain(`cc_lb_${hook} returned `);
    expect(error.message).toContain(named);
    expect(error.cause).toBeInstanceOf(ModuleRejectedError);
  });
});

describe('probe', () => {
  it('accepts pointer 0 with length 0 from observe and rejects it from other hooks', async () => {
    expect(() => admitWasm(newRuntime(), guest({ hooks: ['observe'], hook: packed(0, 0) }))).not.toThrow();
    for (const hook of ['filter', 'shape'] as const) {
      const error = await refusal(guest({ hooks: [hook], hook: packed(0, 0) }));
      expect(error).toBeInstanceOf(ProbeFailedError);
      expect(error.message).toContain(`cc_lb_${hook} returned pointer 0 and length 0`);
    }
  });

  it('accepts an answer that ends at the end of the memory', () => {
    // Zero bytes decode to an empty filter response.
    expect(() => admitWasm(newRuntime(), guest({ hook: packed(MEMORY - 8, 8) }))).not.toThrow();
  });

  it('checks the answer against the size that the memory has after the call', () => {
    const hook = `(drop (memory.grow (i32.const 1))) ${packed(MEMORY + 65_528, 8)}`;
    expect(() => admitWasm(newRuntime(), guest({ hook }))).not.toThrow();
  });

  it.each([
    ['filter', packed(1024, 4)],
    ['shape', packed(1024, 8)],
    ['shape', packed(1025, 36)],
    ['transform_response', packed(8, 40)],
    ['transform_sse_event', packed(8, 4)],
  ] as const)('rejects a guest whose answer of %s does not decode', async (hook, answer) => {
    const hooks: HookKind[] = hook.startsWith('transform')
      ? ['shape', 'transform_response', 'transform_sse_event']
      : [hook];
    // All bytes outside the guest's data are 0xff, which is neither a valid tag nor a valid pointer.
    const fields = `(data (i32.const 0) "${'\\ff'.repeat(64)}")`;
    expect(() => admitWasm(newRuntime(), guest({ hooks, fields }))).not.toThrow();
    const error = await refusal(guest({ hooks, fields, hook: { [hook]: answer } }));
    expect(error).toBeInstanceOf(ProbeFailedError);
    expect(error.hook).toBe(hook);
    expect(error.cause).toBeInstanceOf(WireError);
  });
});

describe('start function', () => {
  it.each([
    ['traps', 'unreachable', 'unreachable-code-reached'],
    ['loops', LOOP, 'interrupt'],
    ['exhausts the stack', 'call $start', 'stack-overflow'],
  ])('that %s fails the instantiation', async (_, body, trap) => {
    const bytes = guest({ fields: `(start $start) (func $start ${body})` });
    const error = await refusal(bytes, { deadlineMs: 30 });
    expect(error).toBeInstanceOf(InstantiateFailedError);
    expect(error).toMatchObject({ code: 'CC_LB_INSTANTIATE_FAILED', plugin: 'guest' });
    expect(error.cause).toBeInstanceOf(GuestTrapError);
    expect(error.cause).toMatchObject({ phase: 'instantiate', trap, retryable: trap === 'interrupt' });
  });

  it('runs before the probe', () => {
    const fields =
      '(start $start) (func $start (global.set $ready (i32.const 1))) (global $ready (mut i32) (i32.const 0))';
    const hook = '(if (i32.eqz (global.get $ready)) (then unreachable)) $answer';
    expect(() => admitWasm(newRuntime(), guest({ fields, hook }))).not.toThrow();
  });
});

describe.each(STRATEGIES)('memory and table limits, $strategy', ({ strategy, config }) => {
  const small = { ...config, memoryMaxPages: 4 };

  it('admit memories up to the cap', () => {
    const runtime = newRuntime(small);
    for (const memory of ['4', '2 4', '2 9', '2 65536']) {
      expect(() => admitWasm(runtime, guest({ memory })), memory).not.toThrow();
    }
  });

  it('reject a memory whose initial size exceeds the cap', async () => {
    const error = await refusal(guest({ memory: '5' }), small);
    // A pool checks the limit when it compiles; the on-demand allocator checks it when the probe instantiates.
    if (strategy === 'pooling') expect(error).toBeInstanceOf(ModuleCompileError);
    else {
      expect(error).toBeInstanceOf(ProbeFailedError);
      expect(error.cause).toBeInstanceOf(InstantiateFailedError);
    }
    expect(error.message).toMatch(/memory/);
  });

  it('fail memory.grow past the cap while a guest runs', () => {
    const hook = `
      (if (i32.ne (memory.grow (i32.const 2)) (i32.const 2)) (then unreachable))
      (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable)) $answer`;
    expect(() => admitWasm(newRuntime(small), guest({ hook }))).not.toThrow();
  });

  it('admit a table of 20,000 elements, and larger or more tables only on demand', async () => {
    const runtime = newRuntime(config);
    expect(() => admitWasm(runtime, guest({ fields: '(table 20000 funcref)' }))).not.toThrow();
    for (const fields of ['(table 20001 funcref)', '(table 1 funcref) (table 1 funcref)']) {
      if (strategy === 'on-demand') expect(() => admitWasm(runtime, guest({ fields }))).not.toThrow();
      else expect(await refusal(guest({ fields }), config)).toBeInstanceOf(ModuleCompileError);
    }
  });
});

describe('table limits of the config', () => {
  const tables = (count: number) => guest({ fields: '(table 1 funcref)'.repeat(count) });
  const elements = (count: number) => guest({ fields: `(table ${count} funcref)` });

  it.each([
    ['maxTables', { maxTables: 9 }, { maxTables: 8 }, tables(9)],
    ['maxTableElements', { maxTableElements: 200_001 }, {}, elements(200_001)],
    ['maxTableElements', {}, { maxTableElements: 199_999 }, elements(200_000)],
  ])('reject a module beyond %s when its probe instantiates it', async (_, larger, smaller, bytes) => {
    expect(() => admitWasm(newRuntime(larger), bytes)).not.toThrow();
    const error = await refusal(bytes, smaller);
    expect(error).toBeInstanceOf(ProbeFailedError);
    expect(error.cause).toBeInstanceOf(InstantiateFailedError);
  });

  it('fail table.grow past maxTableElements while a guest runs', () => {
    const hook = `
      (if (i32.ne (table.grow (ref.null func) (i32.const 9)) (i32.const 1)) (then unreachable))
      (if (i32.ne (table.grow (ref.null func) (i32.const 1)) (i32.const -1)) (then unreachable)) $answer`;
    const bytes = guest({ fields: '(table 1 funcref)', hook });
    expect(() => admitWasm(newRuntime({ maxTableElements: 10 }), bytes)).not.toThrow();
  });

  it('reject a module beyond poolTableElements when a pool compiles it', async () => {
    const pooling = { allocationStrategy: 'pooling', poolTotalMemories: 4, poolTotalCoreInstances: 4 } as const;
    expect(() => admitWasm(newRuntime({ ...pooling, poolTableElements: 20_001 }), elements(20_001))).not.toThrow();
    const error = await refusal(elements(100), { ...pooling, poolTableElements: 99 });
    expect(error).toBeInstanceOf(ModuleCompileError);
  });
});

it('maxModuleEntries bounds the types and functions that are read, also if another runtime admitted the module before', async () => {
  const bytes = guest({ fields: '(func)'.repeat(20) });
  admitWasm(newRuntime(), bytes);
  const error = await refusal(bytes, { maxModuleEntries: 22 });
  expect(error).toBeInstanceOf(ModuleRejectedError);
  expect(error.message).toContain('more than 22 functions');
  expect((await refusal(bytes, { maxModuleEntries: 1 })).message).toContain('more than 1 types');
  expect(() => admitWasm(newRuntime({ maxModuleEntries: 23 }), bytes)).not.toThrow();
});
