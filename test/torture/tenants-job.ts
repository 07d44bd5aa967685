/** Calls many modules in turn under a small budget: guests that search for marks, and real plugins. */
import { SlotKey, WasmtimeFilterPlugin, WasmtimeRuntime, WasmtimeUpstreamDialect } from '../../src/index.ts';
import { upstream } from '../support/samples.ts';
import { Random } from '../wire/fuzz/random.ts';
import { caller, candidates, plugin, request } from './guests.ts';
import type { Job } from './jobs.ts';
import { ensure } from './scenario.ts';
import { distinct, marks, seekerOf } from './seeker.ts';

/** Modules of one runtime; every runtime of the process has the same ones. */
export const MODULES = 64;
/** Much smaller than what a memory for each module would hold. */
export const BUDGET_BYTES = 16 * 1024 * 1024;
const REAL = 16;
const PAGES = [3, 5, 20];

export async function tenantsJob(seed: number): Promise<Job> {
  const random = new Random(seed);
  const runtime = new WasmtimeRuntime({ residentBudgetBytes: BUDGET_BYTES });
  const calls: (() => Promise<void> | void)[] = [];
  for (let index = 0; index < MODULES - REAL; index++) {
    const call = seekerOf(runtime, `seeker ${index}`, PAGES[index % PAGES.length]!);
    calls.push(() => call(random));
  }
  for (let index = 0; index < REAL; index++) calls.push(realPlugin(runtime, random, index));
  let turn = seed;
  return async (units) => {
    // Half of the calls take turns, so that each module uses the memory that each other one left.
    for (let done = 0; done < units; done++) await (done % 2 === 0 ? calls[turn++ % MODULES]! : random.pick(calls))();
    return units;
  };
}

/** A call of a plugin whose answer depends on the request, with a body of another size each time. */
function realPlugin(runtime: WasmtimeRuntime, random: Random, index: number): () => void {
  const body = () => marks.subarray(0, 8 * random.below(4_096));
  const key = SlotKey.global(`real ${index}`);
  if (index % 2 === 0) {
    const bytes = distinct(plugin('echo'), key.plugin);
    const echo = new WasmtimeUpstreamDialect(runtime, runtime.registerShape(key, 'echo', bytes));
    return () => {
      const sent = body();
      const shaped = echo.shape(request({ body: sent }), upstream, caller());
      ensure(Buffer.compare(shaped.body, sent) === 0, () => 'a shaped body differs from the one that was sent');
    };
  }
  const bytes = distinct(plugin('cache-aware'), key.plugin);
  const filter = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key, 'cache-aware', bytes));
  return () => {
    const keep = 1 + random.below(4);
    const { keptUpstreamIds } = filter.filter(request({ body: body() }), caller({ keep }), candidates(8));
    ensure(keptUpstreamIds.length === keep, () => `${keptUpstreamIds.length} candidates kept instead of ${keep}`);
  };
}
