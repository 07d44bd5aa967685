/** Compiles hostile modules of one principal while others register ordinary ones, which must not become slower. */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  CompileProcessError,
  ModuleCompileError,
  ModuleRejectedError,
  PoolSaturatedError,
  ProbeFailedError,
  SlotKey,
  WasmtimeRuntime,
} from '../../src/index.ts';
import { children } from '../support/children.ts';
import { append, customSection } from '../support/wat.ts';
import { handles, quiet } from './facts.ts';
import { guest, plugin } from './guests.ts';
import { HOSTILE_MODULES } from './hostile-modules.ts';
import { HostileSource } from './hostile-source.ts';
import { ensure, type Figure, grouped, type Run, type Scenario } from './scenario.ts';

/** No compiled modules are cached, because their sizes would hide growth. */
const LIMITS = {
  compileTimeoutMs: 2_000,
  maxCompileBytes: 256 * 2 ** 20,
  deadlineMs: 1_000,
  maxCachedModules: 0,
};
const CONCURRENCY = 8;
const BASELINE = 20;
const MAX_SLOWDOWN = 3;
const MAX_GROWTH_BYTES = 2 * 2 ** 20;
const MAX_AFTER_KILL_MS = 150;
const ROUNDS_AFTER_KILL = 5;

export const compile: Scenario = {
  unit: 'hostile modules',
  target: 1_000,
  async run(run) {
    const runtime = new WasmtimeRuntime(LIMITS);
    const unique = uniqueness(run);
    const ordinary = plugin('cache-aware');
    const admitOrdinary = async (number: number): Promise<number> => {
      const began = performance.now();
      const key = new SlotKey(`ordinary-${number}`, 'plugin');
      await runtime.registerFilterAsync(key, 'ordinary', unique(ordinary));
      runtime.evictSlot(key);
      return performance.now() - began;
    };
    const usual: number[] = [];
    for (let number = 0; number < BASELINE; number++) usual.push(await admitOrdinary(number));
    await quiet(runtime);
    const before = handles();

    const source = new HostileSource(run.seed);
    const verdicts = new Map<string, number>();
    const underAttack: number[] = [];
    const resident: number[] = [];
    for (const part of [1, 2]) {
      let running = true;
      const until = Math.ceil((run.target * part) / 2);
      const others = (async () => {
        for (let number = 0; running; number++) underAttack.push(await admitOrdinary(number));
      })();
      const attack = Array.from({ length: CONCURRENCY }, async () => {
        while (run.hasMore && run.done < until) {
          run.count(1);
          const key = new SlotKey('hostile', `plugin-${run.done}`);
          const verdict = await source.submit((bytes) => refused(runtime.registerFilterAsync(key, 'hostile', bytes)));
          runtime.evictSlot(key);
          verdicts.set(verdict, (verdicts.get(verdict) ?? 0) + 1);
        }
      });
      await Promise.all(attack);
      running = false;
      await others;
      await quiet(runtime);
      resident.push(process.memoryUsage.rss());
    }
    await source.close();
    const after = handles();
    const left = children().length;
    const afterKill: number[] = [];
    for (let round = 0; round < ROUNDS_AFTER_KILL; round++) afterKill.push(await goodAfterHostile(runtime, unique));
    await quiet(runtime);
    runtime.close();

    const [normal, attacked] = [median(usual), median(underAttack)];
    const grown = resident[1]! - resident[0]!;
    const outcomes = [...verdicts].map(([verdict, count]) => `${count} ${verdict}`).join(', ');
    const figures: Figure[] = [
      { name: 'hostile modules', value: `${grouped(run.done)}: ${outcomes}`, ok: null },
      {
        name: 'ordinary modules during the attack',
        value: `${grouped(underAttack.length)} admitted, median ${attacked.toFixed(0)} ms, alone ${normal.toFixed(0)} ms`,
        ok: run.isComplete ? attacked <= MAX_SLOWDOWN * normal : null,
      },
      {
        name: 'resident memory, second half against first',
        value: `${(grown / 1024).toFixed(0)} KiB`,
        ok: run.isComplete ? grown <= MAX_GROWTH_BYTES : null,
      },
      {
        name: 'a valid module of the same principal, after a hostile one was killed',
        value: `median ${median(afterKill).toFixed(0)} ms, at most ${Math.max(...afterKill).toFixed(0)} ms`,
        ok: run.isComplete ? Math.max(...afterKill) <= MAX_AFTER_KILL_MS : null,
      },
    ];
    if (before !== undefined && after !== undefined) {
      for (const name of ['descriptors', 'threads'] as const) {
        figures.push({ name, value: `${before[name]}, then ${after[name]}`, ok: after[name] <= before[name] });
      }
      figures.push({ name: 'children and zombies', value: String(left), ok: left === 0 });
    }
    return figures;
  },
};

/** Returns a function that gives a module unique content, and thus a unique hash. */
function uniqueness(run: Run): (bytes: Uint8Array) => Uint8Array {
  let made = 0;
  return (bytes) => append(bytes, customSection(`torture-${run.seed}-${made++}`, new Uint8Array(0)));
}

/** Returns the outcome of a hostile module. Fails the scenario on anything but a typed rejection. */
async function refused(registered: Promise<unknown>): Promise<string> {
  try {
    await registered;
    return 'admitted';
  } catch (error) {
    ensure(!(error instanceof CompileProcessError), () => `the error blames the host: ${error}`);
    ensure(!(error instanceof PoolSaturatedError), () => `refused as saturated: ${error}`);
    if (error instanceof ModuleCompileError) return `refused for ${error.reason}`;
    if (error instanceof ModuleRejectedError || error instanceof ProbeFailedError) return 'refused otherwise';
    throw error;
  }
}

/**
 * Milliseconds from the end of the first of several hostile modules that hold their author's share of the permits to the
 * admission of a valid one of the same author, which waits for a permit.
 */
async function goodAfterHostile(runtime: WasmtimeRuntime, unique: (bytes: Uint8Array) => Uint8Array): Promise<number> {
  const share = Math.max(1, runtime.config.maxCompiles / 2);
  const register = (name: string, bytes: Uint8Array) => {
    const key = new SlotKey('hostile', name);
    return runtime.registerFilterAsync(key, name, unique(bytes)).finally(() => runtime.evictSlot(key));
  };
  const slow = HOSTILE_MODULES['loops nested 10,000 deep']!();
  const attack = Array.from({ length: share }, async (_, index) => {
    await refused(register(`last-${index}`, slow));
    return performance.now();
  });
  while (runtime.stats().engine.runningCompiles < share) await sleep(1);
  const good = register('good', guest()).then(() => performance.now());
  const killed = Promise.race(attack);
  const took = (await good) - (await killed);
  await Promise.all(attack);
  return took;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}
