/** Deadlines: how far an endless guest overruns ten milliseconds, inline and off-thread. */
import { GuestTrapError, SlotKey, WasmtimeFilterPlugin, WasmtimeRuntime } from '../../src/index.ts';
import { misbehavesAfterProbe } from '../support/guest.ts';
import { body, caller, candidates, endlessGuest, guest, request } from './guests.ts';
import { ensure, type Figure, type Scenario } from './scenario.ts';

const DEADLINE_MS = 10;
const LIMIT_MS = 5;

/** An endless guest whose time goes to bulk operations over its 64 MiB, which no interrupt stops. */
const bulkGuest = () =>
  guest({
    memory: '1024',
    hook: misbehavesAfterProbe(
      '(loop $l (memory.fill (i32.const 0x100000) (i32.const 1) (i32.const 0x3e00000)) (br $l)) (i64.const 0)',
    ),
  });

export const deadline: Scenario = {
  unit: 'expiries',
  target: 5_000,
  async run(run) {
    const runtime = new WasmtimeRuntime({ deadlineMs: 60_000 });
    const register = (name: string, bytes: Uint8Array) =>
      new WasmtimeFilterPlugin(runtime, runtime.registerFilter(SlotKey.global(name), name, bytes));
    const [endless, bulk] = [register('endless', endlessGuest()), register('bulk', bulkGuest())];
    const overruns = { inline: [] as number[], 'off the thread': [] as number[], 'in bulk operations': [] as number[] };
    const call = [request({ body }), caller(), candidates(1)] as const;
    const measure = async (into: number[], make: () => unknown) => {
      const began = performance.now();
      try {
        await make();
      } catch (error) {
        const { cause } = error as Error;
        const interrupted = cause instanceof GuestTrapError && cause.trap === 'interrupt';
        ensure(interrupted, () => `an endless guest ended in ${cause}`);
        into.push(performance.now() - began - DEADLINE_MS);
      }
      run.count(1);
    };
    const limits = { deadlineMs: DEADLINE_MS };
    while (run.hasMore) {
      await measure(overruns.inline, () => endless.filter(...call, limits));
      await measure(overruns['off the thread'], () => endless.filterAsync(...call, { ...limits, where: 'thread' }));
      if (run.done % 20 === 0) await measure(overruns['in bulk operations'], () => bulk.filter(...call, limits));
    }
    return Object.entries(overruns).map(([where, times]) => figure(where, times, where !== 'in bulk operations'));
  },
};

function figure(where: string, times: number[], judged: boolean): Figure {
  const sorted = times.sort((a, b) => a - b);
  const at = (part: number) => (sorted[Math.floor((sorted.length - 1) * part)] ?? Number.NaN).toFixed(2);
  const value = `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, most ${at(1)} ms (${sorted.length} expiries)`;
  return { name: `overrun ${where}`, value, ok: judged ? Number(at(0.99)) < LIMIT_MS : null };
}
