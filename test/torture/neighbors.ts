/**
 * One hostile tenant among four. The requests of all four come at a fixed rate; the hostile tenant's filter loops on each of
 * its own. A first part without it is the measure for the others.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { type FilterStage, PluginChain, SlotKey, WasmtimeFilterPlugin, WasmtimeRuntime } from '../../src/index.ts';
import { body, caller, candidates, endlessGuest, plugin, request } from './guests.ts';
import { ensure, type Figure, type Run, type Scenario } from './scenario.ts';

const TENANTS = ['hostile', 'a', 'b', 'c'] as const;
type Tenant = (typeof TENANTS)[number];
const REQUESTS_PER_SECOND = 200;
const CALM_REQUESTS = 400;
/** Failures of the hostile tenant after which the others' times count. */
const FAILURES = 3;

export const neighbors: Scenario = {
  unit: 'requests',
  target: 20_000,
  async run(run) {
    const runtime = new WasmtimeRuntime(
      { deadlineMs: 1_000, breaker: { enabled: true } },
      { engineGroup: 'neighbors' },
    );
    const chainOf = (tenant: Tenant, bytes: Uint8Array) => {
      const slot = runtime.registerFilter(new SlotKey(tenant, 'filter'), tenant, bytes);
      const filters: FilterStage[] = [new WasmtimeFilterPlugin(runtime, slot)];
      return { slot, chain: new PluginChain({ filters }) };
    };
    const good = plugin('cache-aware');
    const chains = {
      ...{ hostile: chainOf('hostile', good), a: chainOf('a', good), b: chainOf('b', good), c: chainOf('c', good) },
    };
    const calm = await load(run, Math.min(CALM_REQUESTS, run.target / 2), chains);
    chains.hostile = chainOf('hostile', endlessGuest());
    const { slot } = chains.hostile;
    const delays = monitorEventLoopDelay({ resolution: 1 });
    const rest = run.target - run.done;
    const isSteady = () => slot.status.failures.expired + slot.status.failures.starved >= FAILURES;
    const busy = await load(run, rest, chains, () => {
      if (!isSteady()) return false;
      delays.enable();
      return true;
    });
    delays.disable();
    const { calls, unavailable, failures, passThroughs } = slot.status;
    ensure(failures.trap === 0 && failures.invalidAnswer === 0, () => 'an endless filter failed in another way');
    ensure(passThroughs > 0, () => 'no request of the hostile tenant passed through');
    await runtime[Symbol.asyncDispose]();
    const [before, after] = [at(calm, 0.99), at(busy, 0.99)];
    const figure = (name: string, value: string, ok: boolean | null = null): Figure => ({ name, value, ok });
    return [
      figure(
        'p99 of the other tenants',
        `${ms(after)}, ${ms(before)} without the hostile one (${busy.length} requests)`,
      ),
      figure('p99.9 of the event loop’s delay', ms(delays.percentile(99.9) / 1e6)),
      figure('calls of the looping filter', `${calls} made, ${unavailable} refused`, unavailable > 0 || !isSteady()),
    ];
  },
};

/** Sends requests of the tenants in turn at the fixed rate; the times of the ones that are not hostile, once `counts` holds. */
async function load(
  run: Run,
  requests: number,
  chains: Readonly<Record<Tenant, { readonly chain: PluginChain }>>,
  counts: () => boolean = () => true,
): Promise<number[]> {
  const times: number[] = [];
  const pending = new Set<Promise<void>>();
  const began = performance.now();
  let counting = false;
  for (let sent = 0; sent < requests && run.hasMore; sent++) {
    const tenant = TENANTS[sent % TENANTS.length]!;
    counting ||= counts();
    const counted = counting && tenant !== 'hostile';
    const start = performance.now();
    const principal = { ...caller(), id: tenant };
    const call = chains[tenant].chain.filterAsync(request({ body }), principal, candidates(4)).then((outcome) => {
      ensure(outcome.kind === 'candidates', () => `a request of ${tenant} was stopped`);
      if (counted) times.push(performance.now() - start);
      pending.delete(call);
    });
    pending.add(call);
    run.count(1);
    const due = began + ((sent + 1) * 1_000) / REQUESTS_PER_SECOND;
    if (due > performance.now()) await sleep(due - performance.now());
  }
  await Promise.all(pending);
  return times;
}

function at(times: readonly number[], part: number): number {
  const sorted = times.toSorted((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) * part)] ?? Number.NaN;
}

const ms = (milliseconds: number): string => `${milliseconds.toFixed(1)} ms`;
