/** Guests that search for data of earlier calls, and guests that leave as much data as possible. */
import {
  FilterError,
  type HotEngineConfigInput,
  SlotKey,
  WasmtimeFilterPlugin,
  WasmtimeRuntime,
  WasmtimeUpstreamDialect,
} from '../../src/index.ts';
import { upstream } from '../support/samples.ts';
import { Random } from '../wire/fuzz/random.ts';
import { BEHAVIORS, caller, candidates, plugin, request } from './guests.ts';
import type { Job } from './jobs.ts';
import { ensure } from './scenario.ts';
import { marks, seekerOf } from './seeker.ts';

const pool = { allocationStrategy: 'pooling', poolTotalMemories: 12, poolTotalCoreInstances: 12 } as const;
const CONFIGS: readonly HotEngineConfigInput[] = [
  {},
  { residentBudgetBytes: 0 },
  { residentBudgetBytes: 1_048_576 },
  pool,
  { ...pool, keepResidentBytes: 1_572_864 },
];

export async function canaryJob(seed: number): Promise<Job> {
  const random = new Random(seed);
  const runtimes = CONFIGS.map((config) => callsOf(new WasmtimeRuntime(config)));
  let done = 0;
  return async (units) => {
    const start = done;
    while (done - start < units) {
      const { seekers, canary, leaveMarks } = random.pick(runtimes);
      // The Rust guest reads a megabyte, so it runs less often.
      if (random.below(64) === 0) canary();
      else await random.pick(seekers)(random);
      done++;
      if (random.below(4) === 0) leaveMarks(random);
    }
    return done - start;
  };
}

function callsOf(runtime: WasmtimeRuntime) {
  const filter = (name: string, bytes: Uint8Array) =>
    new WasmtimeFilterPlugin(runtime, runtime.registerFilter(SlotKey.global(name), name, bytes));
  const seekers = [3, 5, 20].map((pages) => seekerOf(runtime, `seeker ${pages}`, pages));
  const rust = filter('canary', plugin('canary'));
  const canary = () => {
    const { reason } = rust.filter(request(), caller(), candidates(1));
    ensure(reason.endsWith('calls=1 canaries=0'), () => `canary seen: ${reason}`);
  };
  const misbehave = filter('misbehave', plugin('misbehave'));
  const echo = new WasmtimeUpstreamDialect(
    runtime,
    runtime.registerShape(SlotKey.global('echo'), 'echo', plugin('echo')),
  );
  const leaveMarks = (random: Random) => {
    const body = marks.subarray(0, 8 * random.below(4_096));
    if (random.below(2) === 0) return void echo.shape(request({ body }), upstream, caller());
    try {
      misbehave.filter(request({ body }), caller({ do: random.pick(BEHAVIORS)[0] }), candidates(1));
    } catch (error) {
      if (!(error instanceof FilterError)) throw error;
    }
  };
  return { seekers, canary, leaveMarks };
}
