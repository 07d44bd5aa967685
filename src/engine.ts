/** Opens the native engine of a config. Runtimes and threads with equal options share one engine. */
import { randomBytes } from 'node:crypto';
import { type HotEngineConfig, type HotEngineConfigInput, maxMemorySizeBytes, parseConfig } from './config.ts';
import { EngineInitError, InvalidArgumentError } from './errors.ts';
import {
  type NativeCacheDir,
  type NativeEngine,
  type NativeEngineOptions,
  type NativeEngineStats,
  native,
} from './native/addon.ts';

/** A native engine, as the modules of this package use it. */
export interface OpenEngine {
  readonly config: HotEngineConfig;
  readonly native: NativeEngine;
  /** Identifies the engine: equal engine options and group have equal values. */
  readonly id: string;
  /** The directory of compiled modules; null without one. */
  readonly cacheDir: NativeCacheDir | null;
}

/** An engine that is kept open while this object is reachable. A runtime of an equal config shares it. */
export interface HotEngine {
  /** The complete config, frozen. */
  readonly config: HotEngineConfig;
  /** Equal for two objects of one engine. */
  readonly id: string;
  /** Returns the current counts. */
  stats(): NativeEngineStats;
}

/**
 * Builds the engine of `config`, or returns the engine of the process for equal engine options and group. Throws
 * InvalidArgumentError for an invalid config, and EngineInitError, which names the setting to lower, if building fails.
 */
export function buildHotEngine(config?: HotEngineConfigInput, group: string | null = null): HotEngine {
  const engine = openEngine(config, group);
  return Object.freeze({ config: engine.config, id: engine.id, stats: () => engine.native.stats() });
}

/** `buildHotEngine` for the modules of this package. */
export function openEngine(
  config: HotEngineConfigInput | undefined,
  group: string | null,
  explain = false,
): OpenEngine {
  const parsed = parseConfig(config);
  if (group !== null && typeof group !== 'string') throw new InvalidArgumentError('group', 'expected a string or null');
  const options = engineOptions(parsed, group, explain);
  const engine = native.openEngine(options);
  if ('failed' in engine) throw new EngineInitError(`${engine.message}${remedy(parsed)}`);
  return { config: parsed, native: engine, id: JSON.stringify(options), cacheDir: openCacheDir(parsed) };
}

function openCacheDir(config: HotEngineConfig): NativeCacheDir | null {
  const { compileCacheDir, compileCacheKey, maxCompileCacheBytes } = config;
  if (compileCacheDir === null) return null;
  const key = compileCacheKey === null ? null : Buffer.from(compileCacheKey, 'hex');
  const opened = native.openCacheDir(compileCacheDir, key, randomBytes(32), maxCompileCacheBytes);
  if ('failed' in opened) throw new EngineInitError(`config.compileCacheDir: ${opened.message}`);
  return opened;
}

function engineOptions(config: HotEngineConfig, group: string | null, explain: boolean): NativeEngineOptions {
  return {
    pooling: config.allocationStrategy === 'pooling',
    memoryMaxPages: config.memoryMaxPages,
    maxWasmStack: config.maxWasmStack,
    maxTables: config.maxTables,
    maxTableElements: config.maxTableElements,
    poolTableElements: config.poolTableElements,
    maxCachedModules: config.maxCachedModules,
    maxCachedModuleBytes: config.maxCachedModuleBytes,
    poolTotalMemories: config.poolTotalMemories,
    poolTotalCoreInstances: config.poolTotalCoreInstances,
    memoryReservationBytes: config.memoryReservationBytes,
    memoryGuardBytes: config.memoryGuardBytes,
    keepResidentBytes: config.keepResidentBytes,
    residentBudgetBytes: config.residentBudgetBytes,
    maxStagingBytes: config.maxStagingBytes,
    maxStreamBytes: config.maxStreamBytes,
    explain,
    group,
  };
}

function remedy(config: HotEngineConfig): string {
  if (config.allocationStrategy === 'on-demand') return '';
  if (maxMemorySizeBytes(config) > config.memoryReservationBytes) {
    return ' (lower memoryMaxPages or raise memoryReservationBytes: a pooled memory must fit into its reservation)';
  }
  return ' (lower poolTotalMemories or memoryReservationBytes, or raise the limit on address space, such as `ulimit -v`)';
}
