/**
 * Every setting, its default and its bounds. The result of parsing is complete and frozen; the native layer receives
 * it as it is and invents nothing.
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
/** Core instances in the pool, and calls at once under either strategy. */
export const DEFAULT_POOL_TOTAL_CORE_INSTANCES = 64;

const MIB = 1024 * 1024;
const MAX_DEADLINE_MS = 2 ** 31 - 1;
const bytes = z.int().min(0);
const count = z.int().min(1).max(1_000_000);

/** A time limit in milliseconds, as every place that takes one accepts it. */
export const deadlineSchema = z.int().min(1).max(MAX_DEADLINE_MS);
/** What happens to a request whose plugin failed. */
export const failurePolicySchema = z.enum(['pass-through', 'fail-closed']);

const wireBoundsSchema = z
  .strictObject({
    /** Bytes of a whole answer, for filter, shape and the transforms. */
    outputBodyBytes: bytes.default(100 * MIB),
    /** Header lines of a shaped request, counted before any is dropped. */
    maxHeaders: z.int().min(0).max(0xffff_ffff).default(100),
    /** Bytes of one header value of a shaped request. */
    maxHeaderValueBytes: z
      .int()
      .min(0)
      .max(0xffff_ffff)
      .default(8 * 1024),
    /** UTF-8 bytes to which each reason of a filter is cut. */
    reasonBytes: z.int().min(0).max(0xffff_ffff).default(256),
  })
  .readonly();

/** The config as zod sees it. Unknown fields are refused. */
export const hotEngineConfigSchema = z
  .strictObject({
    /** `on-demand` reserves memories as calls need them and uses them again; `pooling` reserves all when the engine is built. */
    allocationStrategy: z.enum(['on-demand', 'pooling']).default('on-demand'),
    /** Pages of 64 KiB that a plugin's memory may grow to. */
    memoryMaxPages: z.int().min(1).max(65_536).default(DEFAULT_MEMORY_MAX_PAGES),
    /** Bytes of native stack that a guest may use. wasmtime takes no more than its stacks for async calls have, 2 MiB. */
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
    /** Whether a shape plugin may leave the origin of its upstream's base URL. */
    shapeOriginPolicy: z.enum(['unrestricted', 'selected-upstream-origin']).default('unrestricted'),
    /** Bounds on what plugins answer. */
    wireBounds: wireBoundsSchema.prefault({}),
    /** Whether plugins are kept from seeing `cookie`. */
    cookieRedaction: z.boolean().default(false),
    /** When calls of a failing plugin are refused. */
    breaker: breakerSchema.prefault({}),
    /** Time for one call: instantiation, alloc and hook together. */
    deadlineMs: deadlineSchema.default(5_000),
    /** Pooling: bytes at the start of each memory that stay resident and are reset by copying. */
    keepResidentBytes: bytes.default(0),
    /** On demand: bytes of memory that plugins may keep for their next calls, reset and partly resident (Linux). */
    residentBudgetBytes: bytes.default(256 * MIB),
    /** Bytes of a module that is admitted. */
    maxModuleBytes: z
      .int()
      .min(8)
      .max(0xffff_ffff)
      .default(32 * MIB),
    /**
     * Types, and functions with imported ones, that a module may have. wasmtime takes no more than the default; inspection
     * keeps some bytes for each.
     */
    maxModuleEntries: count.default(1_000_000),
    /** Tables that a guest may have: the memory cap does not bound them. A pool takes one. */
    maxTables: z.int().min(0).max(1_000).default(8),
    /** Elements of one table. */
    maxTableElements: z.int().min(0).max(10_000_000).default(200_000),
    /** Pooling: elements of one table, which the pool reserves. */
    poolTableElements: z.int().min(0).max(10_000_000).default(20_000),
    /** Compiled modules that are kept while no slot serves them. */
    maxCachedModules: z.int().min(0).max(1_000_000).default(64),
    /** Bytes of compiled code and data of those modules. */
    maxCachedModuleBytes: bytes.default(48 * MIB),
    /** Time for compiling one module. */
    compileTimeoutMs: deadlineSchema.default(30_000),
    /** Bytes of memory for compiling one module in a process. */
    maxCompileBytes: bytes.min(MIB).default(512 * MIB),
    /** Bytes of one compiled module. */
    maxImageBytes: bytes.min(MIB).default(256 * MIB),
    /** Where modules are compiled: in a process of their own, or on a thread, which suits trusted modules alone. */
    compileIn: z.enum(['process', 'thread']).default('process'),
    /** The Node that compile processes run, by its absolute path; null is the Node of this process. */
    compileExecutable: z.string().refine(isAbsolute, 'expected an absolute path').nullable().default(null),
    /** A directory of compiled modules that processes share, by its absolute path; null keeps none. */
    compileCacheDir: z.string().refine(isAbsolute, 'expected an absolute path').nullable().default(null),
    /** The secret that modules in that directory are authenticated with, 64 hex digits; null uses one that is made once. */
    compileCacheKey: z
      .string()
      .regex(/^[0-9a-fA-F]{64}$/, 'expected 64 hex digits')
      .nullable()
      .default(null),
    /** Bytes of all modules in that directory. */
    maxCompileCacheBytes: bytes.min(MIB).default(1_024 * MIB),
    /** Time that an idle compile process waits for the next module; 0 keeps none. */
    compileSpareMs: z.int().min(0).max(MAX_DEADLINE_MS).default(10_000),
    /** Compilations at once in the process; one principal has at most half of them. */
    maxCompiles: z.int().min(1).max(1_024).default(4),
    /** Bytes of memory for all compilations at once. */
    maxTotalCompileBytes: bytes.min(MIB).default(2_048 * MIB),
    /** Compilations of the process that may wait; one principal has at most half of them. */
    maxQueuedCompiles: z.int().min(1).max(1_000_000).default(4_096),
    /** Bytes of modules that may wait to be compiled. */
    maxQueuedCompileBytes: bytes.min(MIB).default(512 * MIB),
    /**
     * CPU time that an asynchronous call may take on its JavaScript thread, in milliseconds; one that takes longer is interrupted
     * and run again off the thread. 0 lets it run to its deadline.
     */
    inlineSliceMs: z.int().min(0).max(1_000).default(10),
    /** Off-thread calls of one JavaScript thread that may wait for a place. */
    maxQueuedCalls: z.int().min(0).max(1_000_000).default(1_024),
    /** Events of `observeQueued` that may wait in the queue of one slot. */
    maxQueuedEvents: z.int().min(0).max(1_000_000).default(1_024),
    /** Bytes of events of `observeQueued` that may wait in all queues of a runtime. */
    maxQueuedEventBytes: bytes.default(16 * MIB),
    /** Bytes of memory that the live instances of streams may hold, shared by principals. */
    maxStreamBytes: bytes.default(512 * MIB),
    /** Bytes of requests that off-thread calls may hold. */
    maxStagingBytes: bytes.default(256 * MIB),
  })
  .readonly();

/** What a runtime is configured with: complete and frozen. */
export type HotEngineConfig = z.output<typeof hotEngineConfigSchema>;
/** What a caller writes: any subset. */
export type HotEngineConfigInput = z.input<typeof hotEngineConfigSchema>;

/** Fills in every default. Throws an InvalidArgumentError that names the first bad or unknown field. */
export function parseConfig(input: unknown = {}): HotEngineConfig {
  const config = parseArgument(hotEngineConfigSchema, input, 'config');
  Object.freeze(config.wireBounds);
  Object.freeze(config.breaker);
  return Object.freeze(config);
}

/** The seed's defaults. */
export function defaultHotEngineConfig(): HotEngineConfig {
  return parseConfig();
}

/**
 * What we recommend: the defaults with a deadline of one second and a breaker. Instances are allocated on demand, where each
 * plugin reuses its memories: less time and CPU than pooling takes, and nothing reserved in advance.
 */
export function productionHotEngineConfig(): HotEngineConfig {
  return parseConfig({ deadlineMs: 1_000, breaker: { enabled: true } });
}

/**
 * For bursts of off-thread calls: as many as 256 guests may run at once, each with its own memory.
 */
export function lowLatencyHotEngineConfig(): HotEngineConfig {
  return parseConfig({ deadlineMs: 1_000, breaker: { enabled: true }, poolTotalCoreInstances: 256 });
}

/** The bytes that a plugin's memory may grow to: pages × 65,536. */
export function maxMemorySizeBytes(config: Pick<HotEngineConfig, 'memoryMaxPages'>): number {
  return config.memoryMaxPages * 65_536;
}

/** The address space that the engine reserves when it is built: 0 on demand, else memories × (reservation + guard). */
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
