import { describe, expect, it } from 'vitest';
import {
  admitWasm,
  buildHotEngine,
  defaultHotEngineConfig,
  EngineInitError,
  type HotEngineConfigInput,
  InvalidArgumentError,
  ModuleCompileError,
  ModuleRejectedError,
  maxMemorySizeBytes,
  virtualMemoryReservationBytes,
  type WasmtimeRuntimeError,
} from '../src/index.ts';
import { thrown } from './support/errors.ts';
import { guest, guestSections } from './support/guest.ts';
import { isolatedRuntime, newRuntime, STRATEGIES } from './support/runtimes.ts';
import { append, section } from './support/wat.ts';

describe('the default config', () => {
  it('has memory for the largest body and its envelope', () => {
    expect(defaultHotEngineConfig().memoryMaxPages).toBe(2048);
  });

  it('allocates on demand', () => {
    const config = defaultHotEngineConfig();
    expect(config.allocationStrategy).toBe('on-demand');
    expect(config.poolTotalMemories).toBe(64);
    expect(config.poolTotalCoreInstances).toBe(64);
    expect(config.memoryReservationBytes).toBe(256 * 1024 * 1024);
    expect(config.memoryGuardBytes).toBe(64 * 1024 * 1024);
    expect(maxMemorySizeBytes(config)).toBe(128 * 1024 * 1024);
    expect(virtualMemoryReservationBytes(config)).toBe(0);
  });

  it('reserves 20 GiB with a pool', () => {
    const config = { ...defaultHotEngineConfig(), allocationStrategy: 'pooling' as const };
    expect(virtualMemoryReservationBytes(config)).toBe(20 * 1024 ** 3);
  });
});

/** A valid plugin with additional fields or instructions. */
const withFields = (fields: string) => guest({ fields });
const withInstructions = (instructions: string, fields = '') => guest({ fields, hook: `${instructions} $answer` });

/** A valid plugin with an additional type before its own. */
function withType(type: readonly number[]): Uint8Array {
  const plain = guest();
  // The section starts after the 8-byte header with its id and size; the size is small, so each number is one byte.
  const [count, ...types] = plain.subarray(10, 10 + plain[9]!);
  return Buffer.concat([
    plain.subarray(0, 8),
    section(1, [count! + 1, ...types, ...type]),
    plain.subarray(10 + plain[9]!),
  ]);
}

/** A plugin with a call_ref instruction, which the assembler does not support. */
function withCallRef(): Uint8Array {
  const bytes = Buffer.from(withFields('(func unreachable nop nop nop nop nop)'));
  const at = bytes.indexOf(Uint8Array.from([0, 1, 1, 1, 1, 1, 0x0b]));
  bytes.set([0x14, 0], at + 1);
  return bytes;
}

describe.each(STRATEGIES)('proposals of an engine, $strategy', ({ config }) => {
  const admit = (bytes: Uint8Array) => admitWasm(newRuntime(config), bytes);

  it('include everything that a plain plugin uses', () => {
    expect(admit(guest()).metadata.name).toBe('guest');
    expect(admit(withType([0x60, 0, 0])).metadata.name).toBe('guest');
  });

  const FORBIDDEN: [string, Uint8Array, RegExp][] = [
    ['threads, as a shared memory', guest({ memory: '2 2 shared' }), /threads|shared/],
    ['threads, as an atomic load', withInstructions('(drop (i32.atomic.load (i32.const 0)))'), /threads/],
    ['memory64', guest({ memory: 'i64 2' }), /memory64/],
    ['multi-memory', withFields('(memory 1)'), /multiple memories|multi-memory/],
    // (ref null $t), a reference to a function of one type.
    ['function references, as a type', withType([0x60, 1, 0x63, 0, 0]), /function references/],
    ['function references, as call_ref', withCallRef(), /function references/],
    ['GC, as a struct type', withType([0x5f, 1, 0x7f, 0]), /gc|GC/],
    ['GC, as an i31 reference', withType([0x60, 1, 0x6c, 0]), /gc|GC|heap types/],
    ['exceptions, as a tag', withFields('(tag (param i32))'), /exceptions/],
    ['exceptions, as a legacy try', withInstructions('(try (do nop) (catch_all nop))'), /exceptions/],
    ['tail calls', withFields('(func $a (result i32) i32.const 0) (func (result i32) return_call $a)'), /tail calls/],
    [
      'relaxed SIMD',
      withFields('(func (param v128 v128) (result v128) (i8x16.relaxed_swizzle (local.get 0) (local.get 1)))'),
      /relaxed SIMD/i,
    ],
  ];

  it.each(FORBIDDEN)('exclude %s', (_, bytes, named) => {
    const error = thrown(ModuleCompileError, () => admit(bytes));
    expect(error.code).toBe('CC_LB_MODULE_COMPILE');
    expect(error.message).toMatch(named);
  });

  it('exclude components', () => {
    const header = Uint8Array.from([0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0]);
    for (const bytes of [header, append(header, ...guestSections())]) {
      expect(thrown(ModuleRejectedError, () => admit(bytes)).reason).toContain('component');
    }
  });

  it.each([
    ['reference types', '(func (param externref) (result i32) local.get 0 ref.is_null)', ''],
    [
      'a table of functions',
      '(table 2 funcref) (elem (i32.const 0) $f) (func $f)',
      '(table.set (i32.const 1) (ref.func $f))',
    ],
    [
      'bulk memory',
      '',
      '(memory.fill (i32.const 9000) (i32.const 7) (i32.const 100)) (memory.copy (i32.const 9100) (i32.const 9000) (i32.const 50))',
    ],
    ['SIMD', '', '(drop (i32x4.extract_lane 1 (i32x4.add (v128.const i32x4 1 2 3 4) (v128.const i32x4 1 2 3 4))))'],
    ['several results', '(func $two (result i32 i32) i32.const 1 i32.const 2)', 'call $two drop drop'],
    ['sign extension and saturating conversion', '', '(drop (i32.extend8_s (i32.trunc_sat_f32_s (f32.const nan))))'],
    ['mutable exported globals', '(global (export "g") (mut i32) (i32.const 0))', ''],
  ])('include %s', (_, fields, instructions) => {
    expect(admit(withInstructions(instructions, fields)).metadata.name).toBe('guest');
  });
});

describe('buildHotEngine', () => {
  it('shares one engine between equal options', () => {
    const first = newRuntime({ memoryMaxPages: 77 });
    admitWasm(first, guest({ metadata: { name: 'shared' } }));
    const { entries } = counts(first);
    expect(entries).toBe(1);
    // Policies, bounds, redaction and deadline are not engine options.
    const equal = newRuntime({
      memoryMaxPages: 77,
      pluginFailurePolicy: 'fail-closed',
      shapeOriginPolicy: 'selected-upstream-origin',
      cookieRedaction: true,
      deadlineMs: 9,
      wireBounds: { maxHeaders: 1 },
    });
    expect(counts(equal).entries).toBe(1);
  });

  it.each([
    { memoryMaxPages: 78 },
    { memoryMaxPages: 77, maxWasmStack: 2 ** 19 },
    { memoryMaxPages: 77, poolTotalMemories: 5 },
    { memoryMaxPages: 77, poolTotalCoreInstances: 5 },
    { memoryMaxPages: 77, memoryReservationBytes: 2 ** 27 },
    { memoryMaxPages: 77, memoryGuardBytes: 2 ** 20 },
    { memoryMaxPages: 77, residentBudgetBytes: 5 },
    { memoryMaxPages: 77, maxStagingBytes: 5 },
    { memoryMaxPages: 77, maxTables: 5 },
    { memoryMaxPages: 77, maxTableElements: 5 },
    { memoryMaxPages: 77, poolTableElements: 5 },
    { memoryMaxPages: 77, maxCachedModules: 5 },
    { memoryMaxPages: 77, maxCachedModuleBytes: 5 },
  ])('creates another engine for %o', (config) => {
    const first = newRuntime({ memoryMaxPages: 77 });
    admitWasm(first, guest({ metadata: { name: 'shared' } }));
    expect(counts(newRuntime(config)).entries).toBe(0);
  });

  it('keeps as many modules that no slot serves as the config allows, and as many bytes', () => {
    const admitThree = (config: HotEngineConfigInput) => {
      const runtime = isolatedRuntime(config);
      for (const name of ['one', 'two', 'three']) admitWasm(runtime, guest({ metadata: { name } }));
      const { cacheEntries, cacheEvictions } = runtime.stats().engine;
      return { cacheEntries, cacheEvictions };
    };
    expect(admitThree({ maxCachedModules: 2 })).toEqual({ cacheEntries: 2, cacheEvictions: 1 });
    expect(admitThree({ maxCachedModules: 0 })).toEqual({ cacheEntries: 0, cacheEvictions: 3 });
    expect(admitThree({ maxCachedModuleBytes: 1 })).toEqual({ cacheEntries: 0, cacheEvictions: 3 });
    expect(admitThree({})).toEqual({ cacheEntries: 3, cacheEvictions: 0 });
  });

  it('shares no engine between groups', () => {
    const first = newRuntime({ memoryMaxPages: 77 }, { engineGroup: 'a' });
    admitWasm(first, guest());
    expect(counts(newRuntime({ memoryMaxPages: 77 }, { engineGroup: 'a' })).entries).toBe(1);
    expect(counts(newRuntime({ memoryMaxPages: 77 }, { engineGroup: 'b' })).entries).toBe(0);
    expect(counts(newRuntime({ memoryMaxPages: 77 }, { engineGroup: '' })).entries).toBe(0);
  });

  it('returns the complete config and the engine', () => {
    const engine = buildHotEngine({ deadlineMs: 7 });
    expect(engine.config).toEqual({ ...defaultHotEngineConfig(), deadlineMs: 7 });
    expect(engine.stats().running).toBe(0);
  });

  it.each(STRATEGIES)('accepts the smallest and the largest stack, $strategy', ({ config }) => {
    for (const maxWasmStack of [16 * 1024, 2 * 1024 * 1024]) {
      expect(() => buildHotEngine({ ...config, maxWasmStack })).not.toThrow();
    }
  });

  it('rejects an invalid config and an invalid group', () => {
    expect(() => buildHotEngine({ memoryMaxPages: 0 })).toThrow(InvalidArgumentError);
    expect(() => buildHotEngine({}, 5 as never)).toThrow(expect.objectContaining({ path: 'group' }));
  });

  it('rejects a pooled memory that exceeds its reservation', () => {
    const error = thrown(EngineInitError, () =>
      buildHotEngine({ allocationStrategy: 'pooling', memoryMaxPages: 2048, memoryReservationBytes: 2 ** 20 }),
    );
    expect(error.code).toBe('CC_LB_ENGINE_INIT');
    expect(error.message).toMatch(/lower memoryMaxPages or raise memoryReservationBytes/);
  });

  it('names the settings to lower when the address space does not suffice', () => {
    const error = thrown(EngineInitError, () =>
      buildHotEngine({ allocationStrategy: 'pooling', poolTotalMemories: 1_000_000, memoryReservationBytes: 2 ** 32 }),
    );
    expect(error.message).toMatch(/lower poolTotalMemories or memoryReservationBytes/);
    expect((error satisfies WasmtimeRuntimeError).retryable).toBe(false);
  });
});

function counts(runtime: ReturnType<typeof newRuntime>): { entries: number } {
  return { entries: runtime.stats().engine.cacheEntries };
}
