/**
 * All settings, their defaults, and their bounds. The parsed config is complete and frozen, and the native layer has no
 * defaults of its own.
 */
import { isAbsolute } from 'node:path';
import * as z from 'zod';
import { breakerSchema } from './isolation/breaker.ts';
import { parseArgument } from './validate.ts';

/** Pages of 64 KiB that a plugin's memory may have: 128 MiB, enough for a 100 MiB body and its envelope. */
export const DEFAULT_MEMORY_MAX_PAGES = 2048;
/** Address space reserved for a memory, in bytes. */
export const DEFAULT_MEMORY_RESERVATION_BYTES = 256 * 1024 * 1024;
/** Guard region after a memory, in bytes. */
export const DEFAULT_MEMORY_GUARD_BYTES = 64 * 1024 * 1024;
/** Memories in the pool. */
export const DEFAULT_POOL_TOTAL_MEMORIES = 64;
/** Core instances in the pool; under either strategy, concurrent calls. */
export const DEFAULT_POOL_TOTAL_CORE_INSTANCES = 64;

const MIB = 1024 * 1024;
const MAX_DEADLINE_MS = 2 ** 31 - 1;
const bytes = z.int().min(0);
const count = z.int().min(1).max(1_000_000);

/** Any time limit, in milliseconds. */
export const deadlineSchema = z.int().min(1).max(MAX_DEADLINE_MS);
/** What happens to a request whose plugin failed. */
export const failurePolicySchema = z.enum(['pass-through', 'fail-closed']);

const wireBoundsSchema = z
  .strictObject({
    /** Bytes of a whole answer, for filter, shape and the transforms. */
    outputBodyBytes: bytes.default(100 * MIB),
    /** Header lines of a shaped request, counted before forbidden ones are removed, or of a transformed response. */
    maxHeaders: z.int().min(0).max(0xffff_ffff).default(100),
    /** Bytes of one header value of a shaped request or a transformed response. */
    maxHeaderValueBytes: z
      .int()
      .min(0)
      .max(0xffff_ffff)
      .default(8 * 1024),
    /** UTF-8 bytes to which each reason of a filter is cut. */
    reasonBytes: z.int().min(0).max(0xffff_ffff).default(256),
  })
  .readonly();

/** The zod schema of the config. Unknown fields are rejected. docs/configuration.md lists the fields. */
export const hotEngineConfigSchema = z
  .strictObject({
    /**
     * `on-demand` reserves memories when calls need them and reuses them; `pooling` reserves all when the engine is
     * built.
     */
    allocationStrategy: z.enum(['on-demand', 'pooling']).default('on-demand'),
    /** Pages of 64 KiB that a plugin's memory may grow to. */
    memoryMaxPages: z.int().min(1).max(65_536).default(DEFAULT_MEMORY_MAX_PAGES),
    /** Bytes of native stack that a guest may use. wasmtime accepts at most the size of its async stacks, 2 MiB. */
    maxWasmStack: z
      .int()
      .min(16 * 1024)
      .max(2 * MIB)
      .default(MIB),
    /** Memories in the pool. */
    poolTotalMemories: count.default(DEFAULT_POOL_TOTAL_MEMORIES),
    /** Instances in the pool; under either strategy, concurrent calls. */
    poolTotalCoreInstances: count.default(DEFAULT_POOL_TOTAL_CORE_INSTANCES),
    /** Bytes of address space reserved for a memory. */
    memoryReservationBytes: bytes.default(DEFAULT_MEMORY_RESERVATION_BYTES),
    /** Bytes of guard region after a memory. */
    memoryGuardBytes: bytes.default(DEFAULT_MEMORY_GUARD_BYTES),
    /** What happens to a request whose plugin failed. */
    pluginFailurePolicy: failurePolicySchema.default('pass-through'),
    /** Whether a shape plugin may leave the origin of its upstream's base URL, or set another user name or password. */
    shapeOriginPolicy: z.enum(['unrestricted', 'selected-upstream-origin']).default('unrestricted'),
    /** Bounds on what plugins answer. */
    wireBounds: wireBoundsSchema.prefault({}),
    /** Whether `cookie` headers are hidden from plugins. */
    cookieRedaction: z.boolean().default(false),
    /** When calls of a failing plugin are rejected. */
    breaker: breakerSchema.prefault({}),
    /** Milliseconds for one call: instantiation, alloc and hook together. */
    deadlineMs: deadlineSchema.default(5_000),
    /** Pooling: bytes at the start of each memory that stay resident and are reset by copying. */
    keepResidentBytes: bytes.default(0),
    /** On demand: bytes of memory that are kept for the next calls of plugins, reset and partly resident (Linux). */
    residentBudgetBytes: bytes.default(256 * MIB),
    /** Maximum bytes of a module. */
    maxModuleBytes: z
      .int()
      .min(8)
      .max(0xffff_ffff)
      .default(32 * MIB),
    /**
     * Types and functions (including imports) that a module may have. wasmtime accepts no more than the default, and
     * inspection allocates some bytes for each.
     */
    maxModuleEntries: count.default(1_000_000),
    /** Tables that a guest may have, which `memoryMaxPages` does not limit. A pool supports one. */
    maxTables: z.int().min(0).max(1_000).default(8),
    /** Elements of one table. */
    maxTableElements: z.int().min(0).max(10_000_000).default(200_000),
    /** Pooling: elements of one table, which the pool reserves. */
    poolTableElements: z.int().min(0).max(10_000_000).default(20_000),
    /** Compiled modules that are cached while no slot uses them. */
    maxCachedModules: z.int().min(0).max(1_000_000).default(64),
    /** Bytes of compiled code and data of those modules. */
    maxCachedModuleBytes: bytes.default(48 * MIB),
    /** Milliseconds for compiling one module. */
    compileTimeoutMs: deadlineSchema.default(30_000),
    /** Bytes of memory for compiling one module in a process. */
    maxCompileBytes: bytes.min(MIB).default(512 * MIB),
    /** Bytes of one compiled module. */
    maxImageBytes: bytes.min(MIB).default(256 * MIB),
    /** Where modules are compiled: each in a separate process, or on a thread, for trusted modules only. */
    compileIn: z.enum(['process', 'thread']).default('process'),
    /** The absolute path of the Node executable for compile processes; null is the Node of this process. */
    compileExecutable: z.string().refine(isAbsolute, 'expected an absolute path').nullable().default(null),
    /** The absolute path of a directory of compiled modules that processes share; null disables it. */
    compileCacheDir: z.string().refine(isAbsolute, 'expected an absolute path').nullable().default(null),
    /**
     * The secret that authenticates modules in that directory, 64 hex digits; null uses a secret generated in the
     * directory.
     */
    compileCacheKey: z
      .string()
      .regex(/^[0-9a-fA-F]{64}$/, 'expected 64 hex digits')
      .nullable()
      .default(null),
    /** Bytes of all modules in that directory. */
    maxCompileCacheBytes: bytes.min(MIB).default(1_024 * MIB),
    /** Milliseconds that an idle compile process waits for the next module; 0 keeps no idle process. */
    compileSpareMs: z.int().min(0).max(MAX_DEADLINE_MS).default(10_000),
    /** Concurrent compilations in the process; one principal has at most half of them. */
    maxCompiles: z.int().min(1).max(1_024).default(4),
    /** Bytes of memory for all concurrent compilations. */
    maxTotalCompileBytes: bytes.min(MIB).default(2_048 * MIB),
    /** Compilations that may wait in the process, and admissions of a runtime; one principal has at most half. */
    maxQueuedCompiles: z.int().min(1).max(1_000_000).default(4_096),
    /**
     * Bytes of modules that may wait to be compiled, and in a runtime to be admitted; one principal has at most half of
     * the latter.
     */
    maxQueuedCompileBytes: bytes.min(MIB).default(512 * MIB),
    /**
     * CPU time in milliseconds that an asynchronous call may use on its JavaScript thread. A longer call is interrupted
     * and repeated off the thread. 0 removes the limit.
     */
    inlineSliceMs: z.int().min(0).max(1_000).default(10),
    /** Off-thread calls of one JavaScript thread that may wait for a permit. */
    maxQueuedCalls: z.int().min(0).max(1_000_000).default(1_024),
    /** Events of `observeQueued` that may wait in the queue of one slot. */
    maxQueuedEvents: z.int().min(0).max(1_000_000).default(1_024),
    /** Bytes of events of `observeQueued` that may wait in all queues of a runtime, shared by the slots' owners. */
    maxQueuedEventBytes: bytes.default(16 * MIB),
    /** Bytes of the largest body that is copied for a monitored version. */
    maxMonitoredBodyBytes: bytes.default(MIB),
    /** Calls of one slot's monitored version that may wait or run. */
    maxMonitoredCalls: z.int().min(0).max(1_000_000).default(32),
    /** Bytes of memory that the live instances of streams may hold, shared by principals. */
    maxStreamBytes: bytes.default(512 * MIB),
    /** Bytes of staged requests of off-thread calls. */
    maxStagingBytes: bytes.default(256 * MIB),
  })
  .readonly();

/** The complete, frozen config of a runtime. docs/configuration.md lists the fields. */
export interface HotEngineConfig extends z.output<typeof hotEngineConfigSchema> {}
/** The config that a caller passes: any subset of the fields. */
export interface HotEngineConfigInput extends z.input<typeof hotEngineConfigSchema> {}

/** Adds the defaults. Throws an InvalidArgumentError that names the first invalid or unknown field. */
export function parseConfig(input: unknown = {}): HotEngineConfig {
  const config = parseArgument(hotEngineConfigSchema, input, 'config');
  Object.freeze(config.wireBounds);
  Object.freeze(config.breaker);
  return Object.freeze(config);
}

/** Returns the default config. */
export function defaultHotEngineConfig(): HotEngineConfig {
  return parseConfig();
}

/**
 * Returns the recommended config: the defaults with a deadline of one second and a breaker. Instances are allocated on
 * demand, so that calls reuse the memories of earlier ones. This takes less time and CPU than pooling, and reserves
 * nothing in advance.
 */
export function productionHotEngineConfig(): HotEngineConfig {
  return parseConfig({ deadlineMs: 1_000, breaker: { enabled: true } });
}

/**
 * Returns the config for bursts of off-thread calls: up to 256 guests run concurrently, each with its own memory.
 */
export function lowLatencyHotEngineConfig(): HotEngineConfig {
  return parseConfig({ deadlineMs: 1_000, breaker: { enabled: true }, poolTotalCoreInstances: 256 });
}

/** Returns the maximum size of a plugin's memory in bytes: pages × 65,536. */
export function maxMemorySizeBytes(config: Pick<HotEngineConfig, 'memoryMaxPages'>): number {
  return config.memoryMaxPages * 65_536;
}

/**
 * Returns the bytes of address space that the engine reserves when it is built: 0 on demand, else memories ×
 * (reservation + guard).
 */
export function virtualMemoryReservationBytes(
  config: Pick<
    HotEngineConfig,
    'allocationStrategy' | 'poolTotalMemories' | 'memoryReservationBytes' | 'memoryGuardBytes'
  >,
): number {
  if (config.allocationStrategy === 'on-demand') return 0;
  const bytes = config.poolTotalMemories * (config.memoryReservationBytes + config.memoryGuardBytes);
  return Math.min(bytes, Number.MAX_SAFE_INTEGER);
}
