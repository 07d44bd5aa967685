/** Many slots with separate modules: resident memory and mappings of each after a call. */
import { SlotKey, WasmtimeFilterPlugin, WasmtimeRuntime } from '../../src/index.ts';
import { anonymousBytes, handles, quiet } from './facts.ts';
import { caller, candidates, plugin, request } from './guests.ts';
import { ensure, grouped, type Scenario } from './scenario.ts';
import { distinct } from './seeker.ts';

const KIB = 1024;
const BYTES_PER_SLOT = 120 * KIB;
const MAPPINGS_PER_SLOT = 2;

export const slots: Scenario = {
  unit: 'slots',
  target: 1_000,
  async run(run) {
    // Without a budget no idle memory is kept, so that the rest belongs to the slots.
    using runtime = new WasmtimeRuntime({ residentBudgetBytes: 0 });
    const bytes = plugin('cache-aware');
    const adapters: WasmtimeFilterPlugin[] = [];
    const add = () => {
      const key = new SlotKey(`principal-${adapters.length}`, 'cache-aware');
      const slot = runtime.registerFilter(key, 'cache-aware', distinct(bytes, key.principal!));
      adapters.push(new WasmtimeFilterPlugin(runtime, slot));
    };
    const serve = () => {
      for (const adapter of adapters) {
        const { keptUpstreamIds } = adapter.filter(request(), caller({ keep: 2 }), candidates(8));
        ensure(keptUpstreamIds.length === 2, () => `${keptUpstreamIds.length} candidates kept instead of 2`);
      }
    };
    // The first slots include the cost of shared resources.
    for (let count = 0; count < 10; count++) add();
    serve();
    await quiet(runtime);
    const before = { bytes: process.memoryUsage.rss(), anonymous: anonymousBytes(), mappings: handles()?.mappings };
    const first = adapters.length;
    while (run.hasMore) {
      add();
      run.count(1);
    }
    serve();
    await quiet(runtime);
    const count = adapters.length - first;
    const perSlot = (process.memoryUsage.rss() - before.bytes) / count;
    const anonymous = (anonymousBytes() - before.anonymous) / count;
    const mappings = ((handles()?.mappings ?? Number.NaN) - (before.mappings ?? Number.NaN)) / count;
    const verdict = (ok: boolean) => (run.isComplete ? ok : null);
    const kib = (value: number) => `${(value / KIB).toFixed(0)} KiB`;
    return [
      { name: 'slots', value: `${grouped(count)}, each with a module of its own`, ok: null },
      {
        name: 'resident memory',
        value: `${kib(perSlot)} a slot, ${kib(anonymous)} of it anonymous`,
        ok: verdict(perSlot <= BYTES_PER_SLOT),
      },
      Number.isNaN(mappings)
        ? { name: 'mappings', value: 'not reported by this system', ok: null }
        : {
            name: 'mappings',
            value: `${mappings.toFixed(2)} a slot`,
            ok: verdict(mappings <= MAPPINGS_PER_SLOT + 0.1),
          },
    ];
  },
};
