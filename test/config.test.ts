import { describe, expect, it } from 'vitest';
import { parseConfig } from '../src/config.ts';
import {
  DEFAULT_MEMORY_GUARD_BYTES,
  DEFAULT_MEMORY_MAX_PAGES,
  DEFAULT_MEMORY_RESERVATION_BYTES,
  DEFAULT_POOL_TOTAL_CORE_INSTANCES,
  DEFAULT_POOL_TOTAL_MEMORIES,
  defaultHotEngineConfig,
  hotEngineConfigSchema,
  InvalidArgumentError,
  lowLatencyHotEngineConfig,
  maxMemorySizeBytes,
  productionHotEngineConfig,
  virtualMemoryReservationBytes,
} from '../src/index.ts';
import { thrown } from './support/errors.ts';

const MIB = 1024 * 1024;

describe('the default config', () => {
  it('has the values of the Rust crate, and defaults for the settings of this package', () => {
    expect(defaultHotEngineConfig()).toEqual({
      allocationStrategy: 'on-demand',
      memoryMaxPages: 2048,
      maxWasmStack: MIB,
      poolTotalMemories: 64,
      poolTotalCoreInstances: 64,
      memoryReservationBytes: 256 * MIB,
      memoryGuardBytes: 64 * MIB,
      pluginFailurePolicy: 'pass-through',
      shapeOriginPolicy: 'unrestricted',
      wireBounds: { outputBodyBytes: 104_857_600, maxHeaders: 100, maxHeaderValueBytes: 8192, reasonBytes: 256 },
      cookieRedaction: false,
      breaker: {
        enabled: false,
        consecutiveFailures: 3,
        failureRatio: 0.5,
        minimumCalls: 20,
        guestTimeShare: 0.8,
        windowMs: 10_000,
        openMs: 1_000,
        maxOpenMs: 60_000,
        halfOpenTrials: 1,
        openPrincipals: 3,
        maxPrincipals: 256,
      },
      deadlineMs: 5000,
      keepResidentBytes: 0,
      residentBudgetBytes: 256 * MIB,
      maxModuleBytes: 32 * MIB,
      maxModuleEntries: 1_000_000,
      maxTables: 8,
      maxTableElements: 200_000,
      poolTableElements: 20_000,
      maxCachedModules: 64,
      maxCachedModuleBytes: 48 * MIB,
      compileTimeoutMs: 30_000,
      maxCompileBytes: 512 * MIB,
      maxImageBytes: 256 * MIB,
      compileIn: 'process',
      compileExecutable: null,
      compileCacheDir: null,
      compileCacheKey: null,
      maxCompileCacheBytes: 1_024 * MIB,
      compileSpareMs: 10_000,
      maxCompiles: 4,
      maxTotalCompileBytes: 2_048 * MIB,
      maxQueuedCompiles: 4_096,
      maxQueuedCompileBytes: 512 * MIB,
      inlineSliceMs: 10,
      maxQueuedCalls: 1024,
      maxQueuedEvents: 1024,
      maxQueuedEventBytes: 16 * MIB,
      maxMonitoredBodyBytes: 1_048_576,
      maxMonitoredCalls: 32,
      maxStreamBytes: 512 * MIB,
      maxStagingBytes: 256 * MIB,
    });
  });

  it('uses the exported constants', () => {
    const config = defaultHotEngineConfig();
    expect(config.memoryMaxPages).toBe(DEFAULT_MEMORY_MAX_PAGES);
    expect(config.memoryReservationBytes).toBe(DEFAULT_MEMORY_RESERVATION_BYTES);
    expect(config.memoryGuardBytes).toBe(DEFAULT_MEMORY_GUARD_BYTES);
    expect(config.poolTotalMemories).toBe(DEFAULT_POOL_TOTAL_MEMORIES);
    expect(config.poolTotalCoreInstances).toBe(DEFAULT_POOL_TOTAL_CORE_INSTANCES);
  });

  it('has memory for a body of 100 MiB and its envelope', () => {
    const config = defaultHotEngineConfig();
    expect(maxMemorySizeBytes(config)).toBe(128 * MIB);
    expect(maxMemorySizeBytes(config)).toBeGreaterThan(config.wireBounds.outputBodyBytes);
  });

  it('equals the schema defaults', () => {
    expect(hotEngineConfigSchema.parse({})).toEqual(defaultHotEngineConfig());
  });
});

describe('the recommended configs', () => {
  it('reserve no address space in advance, limit a call to one second, and enable the breaker', () => {
    for (const config of [productionHotEngineConfig(), lowLatencyHotEngineConfig()]) {
      expect(config).toMatchObject({ deadlineMs: 1000 });
      expect(config.breaker).toEqual({ ...defaultHotEngineConfig().breaker, enabled: true });
      expect(virtualMemoryReservationBytes(config)).toBe(0);
    }
  });

  it('differ in the number of guests that may run concurrently', () => {
    expect(productionHotEngineConfig().poolTotalCoreInstances).toBe(64);
    expect(lowLatencyHotEngineConfig().poolTotalCoreInstances).toBe(256);
  });
});

describe('virtualMemoryReservationBytes', () => {
  it('is 0 on demand', () => {
    expect(virtualMemoryReservationBytes(defaultHotEngineConfig())).toBe(0);
  });

  it('is memories × (reservation + guard) in a pool', () => {
    const config = parseConfig({
      allocationStrategy: 'pooling',
      poolTotalMemories: 3,
      memoryReservationBytes: 1000,
      memoryGuardBytes: 24,
    });
    expect(virtualMemoryReservationBytes(config)).toBe(3072);
  });

  it('is at most the largest safe integer', () => {
    const config = parseConfig({
      allocationStrategy: 'pooling',
      poolTotalMemories: 1_000_000,
      memoryReservationBytes: Number.MAX_SAFE_INTEGER,
      memoryGuardBytes: Number.MAX_SAFE_INTEGER,
    });
    expect(virtualMemoryReservationBytes(config)).toBe(Number.MAX_SAFE_INTEGER);
  });
});

describe('parseConfig', () => {
  it('returns a deeply frozen config', () => {
    const config = parseConfig({ wireBounds: { maxHeaders: 7 } });
    expect(config.wireBounds).toEqual({ ...defaultHotEngineConfig().wireBounds, maxHeaders: 7 });
    expect(Object.isFrozen(config)).toBe(true);
    expect(Object.isFrozen(config.wireBounds)).toBe(true);
    expect(Object.isFrozen(config.breaker)).toBe(true);
  });

  it('copies its argument and does not freeze it', () => {
    const wireBounds = { maxHeaders: 7 };
    const config = parseConfig({ wireBounds });
    wireBounds.maxHeaders = 8;
    expect(config.wireBounds.maxHeaders).toBe(7);
  });

  it.each([
    ['memoryMaxPages', 1],
    ['memoryMaxPages', 65_536],
    ['maxWasmStack', 16 * 1024],
    ['maxWasmStack', 2 * MIB],
    ['deadlineMs', 1],
    ['deadlineMs', 2 ** 31 - 1],
    ['inlineSliceMs', 0],
    ['inlineSliceMs', 1_000],
    ['maxQueuedCalls', 0],
    ['maxStagingBytes', 0],
    ['maxModuleEntries', 1],
    ['maxTables', 0],
    ['maxTableElements', 0],
    ['poolTableElements', 0],
    ['maxCachedModules', 0],
    ['maxCachedModuleBytes', 0],
    ['residentBudgetBytes', 0],
    ['memoryGuardBytes', 0],
  ] as const)('accepts %s = %d', (field, value) => {
    expect(parseConfig({ [field]: value })[field]).toBe(value);
  });

  it.each([
    ['memoryMaxPages', 0],
    ['memoryMaxPages', 65_537],
    ['memoryMaxPages', 1.5],
    ['memoryMaxPages', '2048'],
    ['memoryMaxPages', null],
    ['maxWasmStack', 16 * 1024 - 1],
    ['maxWasmStack', 2 * MIB + 1],
    ['poolTotalMemories', 0],
    ['poolTotalCoreInstances', -1],
    ['memoryReservationBytes', -1],
    ['memoryGuardBytes', Number.NaN],
    ['memoryGuardBytes', 2 ** 60],
    ['allocationStrategy', 'onDemand'],
    ['pluginFailurePolicy', 'open'],
    ['shapeOriginPolicy', true],
    ['cookieRedaction', 1],
    ['deadlineMs', 0],
    ['deadlineMs', 2 ** 31],
    ['deadlineMs', Number.POSITIVE_INFINITY],
    ['residentBudgetBytes', -1],
    ['maxModuleBytes', 7],
    ['maxModuleEntries', 1_000_001],
    ['maxTables', 1_001],
    ['maxTableElements', -1],
    ['poolTableElements', 1e9],
    ['maxCachedModules', '64'],
    ['maxCachedModuleBytes', -1],
    ['maxQueuedEvents', -1],
    ['maxQueuedEventBytes', 1.5],
    ['inlineSliceMs', -1],
    ['inlineSliceMs', 1_001],
    ['inlineSliceMs', 0.5],
    ['maxQueuedCalls', 1n],
    ['maxStagingBytes', {}],
    ['compileTimeoutMs', 0],
    ['maxCompileBytes', 1_048_575],
    ['maxImageBytes', 0],
    ['compileIn', 'worker'],
    ['compileExecutable', 'node'],
    ['compileCacheDir', './modules'],
    ['compileCacheKey', 'secret'],
    ['maxCompileCacheBytes', 1],
    ['compileSpareMs', -1],
    ['maxCompiles', 0],
    ['maxTotalCompileBytes', 1],
    ['maxQueuedCompiles', 0],
    ['maxQueuedCompileBytes', 1],
    ['keepResidentBytes', 0.5],
    ['wireBounds', 5],
    ['breaker', null],
    ['breaker', true],
  ])('rejects %s = %s with the name of the field', (field, value) => {
    const error = thrown(InvalidArgumentError, () => parseConfig({ [field]: value }));
    expect(error.path).toBe(`config.${field}`);
    expect(error.message).toMatch(new RegExp(`^config\\.${field}: .`));
  });

  it.each(['outputBodyBytes', 'maxHeaders', 'maxHeaderValueBytes', 'reasonBytes'])(
    'rejects an invalid bound %s',
    (bound) => {
      for (const value of [-1, 0.5, '1']) {
        const error = thrown(InvalidArgumentError, () => parseConfig({ wireBounds: { [bound]: value } }));
        expect(error.path).toBe(`config.wireBounds.${bound}`);
      }
    },
  );

  it('rejects an invalid threshold of the breaker', () => {
    const error = thrown(InvalidArgumentError, () => parseConfig({ breaker: { openMs: 5, maxOpenMs: 4 } }));
    expect(error.path).toBe('config.breaker.maxOpenMs');
  });

  it.each([
    [{ deadlineMs: '5' }, 'config.deadlineMs: expected number, received string'],
    [{ deadlineMs: 0 }, 'config.deadlineMs: expected number to be >=1'],
    [{ breaker: { failureRatio: 2 } }, 'config.breaker.failureRatio: expected number to be <=1'],
    [{ compileIn: 'here' }, 'config.compileIn: expected one of "process"|"thread"'],
    [{ compileCacheDir: 'here' }, 'config.compileCacheDir: expected an absolute path'],
  ])('rejects %o with a message of what is expected', (config, message) => {
    expect(thrown(InvalidArgumentError, () => parseConfig(config)).message).toBe(message);
  });

  it('rejects unknown fields with their names', () => {
    expect(thrown(InvalidArgumentError, () => parseConfig({ deadline: 5 })).message).toBe(
      'config.deadline: unknown field',
    );
    expect(thrown(InvalidArgumentError, () => parseConfig({ wireBounds: { headers: 5 } })).message).toBe(
      'config.wireBounds.headers: unknown field',
    );
  });

  it.each([null, 5, 'pooling', []])('rejects %s as a config', (config) => {
    expect(thrown(InvalidArgumentError, () => parseConfig(config)).path).toBe('config');
  });
});
