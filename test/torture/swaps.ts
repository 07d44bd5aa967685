/** Hot swaps under traffic: the version on which a call started answers it, and old versions leave no resources. */
import { ModuleRejectedError, SlotKey, WasmtimeFilterPlugin, WasmtimeRuntime } from '../../src/index.ts';
import { filterResponse } from '../../src/wire/messages/filter.ts';
import { encodeToBytes } from '../support/encode.ts';
import { collect, Growth } from './facts.ts';
import { caller, candidates, guest, plugin, request } from './guests.ts';
import { ensure, grouped, type Scenario } from './scenario.ts';

const LIMIT = 2 * 1024 * 1024;
const SAMPLE_EVERY = 20;
const IN_FLIGHT = 4;
/** Longer than idle instances are kept. */
const IDLE_MS = 5_000;

/** A filter that answers with its version. */
function version(number: number): Uint8Array {
  const { upstreamId } = candidates(1)[0]!;
  const result = { upstreamId, decision: 'accept', reason: `v${number}` };
  const answer = Buffer.from(encodeToBytes(filterResponse, { results: [result] }));
  const data = answer.toString('hex').replace(/../g, '\\$&');
  return guest({
    hook: `(memory.init $version (i32.const 8192) (i32.const 0) (i32.const ${answer.length}))
      i64.const ${(8192n << 32n) | BigInt(answer.length)}`,
    fields: `(data $version "${data}")`,
    metadata: { version: String(number) },
  });
}

const call = () => [request(), caller(), candidates(1)] as const;
const answeredVersion = ({ reason }: { reason: string }) => reason.split(': ')[1];

export const swaps: Scenario = {
  unit: 'swaps',
  target: 1_000,
  async run(run) {
    const runtime = new WasmtimeRuntime({
      ...{ allocationStrategy: 'pooling', poolTotalMemories: 32, poolTotalCoreInstances: 32 },
    });
    const [key, real] = [SlotKey.global('swapped'), SlotKey.global('real')];
    runtime.registerFilter(key, 'swapped', version(0));
    const following = WasmtimeFilterPlugin.follow(runtime, key);
    const growth = new Growth(0.25);
    let calls = 0;
    for (let number = 1; run.hasMore; number++) {
      const old = new WasmtimeFilterPlugin(runtime, runtime.getSlot(key)!);
      const before = `v${number - 1}`;
      const expected = (now: string) => (output: { reason: string }) => {
        ensure(answeredVersion(output) === now, () => `${answeredVersion(output)} answered instead of ${now}`);
        calls++;
      };
      const inFlight = Array.from({ length: IN_FLIGHT }, () =>
        following.filterAsync(...call(), { where: 'thread' }).then(expected(before)),
      );
      const registered = runtime.registerFilterAsync(key, 'swapped', version(number));
      for (let turn = 0; turn < IN_FLIGHT; turn++) expected(before)(following.filter(...call()));
      const slot = await registered;
      ensure(slot.current.versionId === number + 1, () => `swap ${number} made version ${slot.current.versionId}`);
      expected(`v${number}`)(following.filter(...call()));
      expected(before)(old.filter(...call()));
      await Promise.all(inFlight);
      if (number % 10 === 0) {
        refuse(() => runtime.registerFilter(key, 'swapped', version(number).subarray(0, -40)));
        expected(`v${number}`)(following.filter(...call()));
        // A real plugin is registered, serves one call and is evicted with its slot.
        const name = number % 20 === 0 ? 'cache-aware' : 'cache-aware-v2';
        new WasmtimeFilterPlugin(runtime, runtime.registerFilter(real, name, plugin(name))).filter(...call());
        const evicted = runtime.retainSlots([key]);
        ensure(evicted.length === 1 && runtime.slotCount === 1, () => `${evicted.length} slots were evicted`);
      }
      run.count(1);
      if (number % SAMPLE_EVERY === 0) await growth.sample(number);
    }
    runtime.close();
    await collect();
    await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
    const { idleMemories, poolMemories, running, stagedBytes } = runtime.stats().engine;
    ensure(running === 0 && stagedBytes === 0, () => `${running} guests, ${stagedBytes} staged bytes are left`);
    growth.conclude(run.isComplete);
    return [
      { name: 'swaps', value: `${grouped(run.done)} under ${grouped(calls)} calls, none misdirected`, ok: null },
      growth.slopeFigure(LIMIT),
      ...growth.handleFigures(),
      {
        name: 'leftover instances',
        value: `${idleMemories} idle memories, ${poolMemories} pooled memories`,
        ok: idleMemories === 0 && poolMemories === 0,
      },
    ];
  },
};

function refuse(register: () => unknown): void {
  try {
    register();
  } catch (error) {
    if (error instanceof ModuleRejectedError) return;
    throw error;
  }
  ensure(false, () => 'a broken module was registered');
}
