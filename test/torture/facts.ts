/** Resource usage of this process as the operating system reports it, and its growth over a run. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { WasmtimeRuntime } from '../../src/index.ts';
import { descriptorCount } from '../support/descriptors.ts';
import { type Figure, grouped } from './scenario.ts';

const KIB = 1024;
const MIB = 1024 * 1024;
const onLinux = process.platform === 'linux';

/** Anonymous resident memory in bytes; all resident memory on systems that do not report it separately. */
export function anonymousBytes(): number {
  if (!onLinux) return process.memoryUsage.rss();
  return Number(/RssAnon:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))![1]) * KIB;
}

/**
 * The file descriptors (see `descriptorCount`), mappings and threads of the process; undefined on systems that do not
 * report them.
 */
export function handles(): Record<'descriptors' | 'mappings' | 'threads', number> | undefined {
  if (!onLinux) return undefined;
  return {
    descriptors: descriptorCount(),
    mappings: readFileSync('/proc/self/maps', 'utf8').split('\n').length - 1,
    threads: Number(/Threads:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]),
  };
}

/** Collects garbage, and runs the finalizers of native objects, which need turns of the event loop. */
export async function collect(): Promise<void> {
  for (let round = 0; round < 3; round++) {
    globalThis.gc!();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/**
 * Resolves when no compile process is left, garbage is collected, and freed memory is returned to the system, which
 * happens when the last compile process ends.
 */
export async function quiet(runtime: WasmtimeRuntime): Promise<void> {
  await collect();
  while (runtime.stats().engine.compileProcesses > 0) await sleep(100);
  await collect();
}

interface Sample {
  readonly done: number;
  readonly anonymous: number;
  readonly resident: number;
  readonly handles: ReturnType<typeof handles>;
}

/** The slope of the least-squares line through the points. */
function slope(points: readonly (readonly [number, number])[]): number {
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [x, y] = [mean(points.map(([at]) => at)), mean(points.map(([, value]) => value))];
  const above = points.reduce((sum, [at, value]) => sum + (at - x) * (value - y), 0);
  const below = points.reduce((sum, [at]) => sum + (at - x) ** 2, 0);
  return below === 0 ? 0 : above / below;
}

/** Samples over a run. The first part of the run, which warms up caches, heaps and pools, does not count. */
export class Growth {
  static readonly #LEAST = 20;
  readonly #samples: Sample[] = [];
  readonly #warmUp: number;
  #full = false;

  /** `warmUp` is the part of a full run's units after which samples count. */
  constructor(warmUp: number) {
    this.#warmUp = warmUp;
  }

  /** Only a complete run has a verdict: a short one consists of warm-up. */
  conclude(full: boolean): void {
    this.#full = full;
  }

  /** Takes a sample after a forced collection. */
  async sample(done: number): Promise<void> {
    await collect();
    const resident = process.memoryUsage.rss();
    this.#samples.push({ done, anonymous: anonymousBytes(), resident, handles: handles() });
  }

  get #counted(): Sample[] {
    const last = this.#samples.at(-1)?.done ?? 0;
    return this.#samples.filter(({ done }) => done >= last * this.#warmUp);
  }

  /** Growth of anonymous memory over the counted part, by its slope. `limit` is in bytes. */
  slopeFigure(limit: number): Figure {
    const counted = this.#counted;
    if (counted.length === 0) return { name: 'anonymous memory', value: 'too short a run to sample', ok: null };
    const units = counted.at(-1)!.done - counted[0]!.done;
    const grown = slope(counted.map(({ done, anonymous }) => [done, anonymous] as const)) * units;
    const enough = this.#full && counted.length >= Growth.#LEAST;
    const value = `${(grown / KIB).toFixed(0)} KiB over ${grouped(units)} (slope of ${counted.length} samples)`;
    return { name: 'anonymous memory', value, ok: enough ? grown < limit : null };
  }

  /** The largest distance of resident memory from its level when counting began, in per cent. */
  levelFigure(limit: number): Figure {
    const counted = this.#counted;
    if (counted.length === 0) return { name: 'resident memory', value: 'too short a run to sample', ok: null };
    const level = counted[0]!.resident;
    const off = Math.max(...counted.map(({ resident }) => ((resident - level) / level) * 100));
    const value = `at most ${off.toFixed(1)} % over ${(level / MIB).toFixed(0)} MiB (${counted.length} samples)`;
    return { name: 'resident memory', value, ok: this.#full && counted.length >= Growth.#LEAST ? off <= limit : null };
  }

  /** Whether descriptors, mappings and threads stayed: the second half of the samples has no more than the first. */
  handleFigures(): Figure[] {
    const all = this.#counted.flatMap(({ handles }) => (handles === undefined ? [] : [handles]));
    const half = Math.floor(all.length / 2);
    if (half === 0) return [];
    return (['descriptors', 'mappings', 'threads'] as const).map((name) => {
      const most = (part: typeof all) => Math.max(...part.map((sample) => sample[name]));
      const [first, second] = [most(all.slice(0, half)), most(all.slice(half))];
      // The number of mappings varies slightly, because allocators split and join them.
      const slack = name === 'mappings' ? Math.max(16, first * 0.05) : 0;
      const enough = this.#full && all.length >= Growth.#LEAST;
      return { name, value: `at most ${first}, then ${second}`, ok: enough ? second <= first + slack : null };
    });
  }
}
