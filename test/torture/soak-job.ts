/** The traffic of a load balancer: all hooks, bodies of many sizes, inline and off-thread, with rare failures. */
import {
  FilterError,
  SlotKey,
  WasmtimeFilterPlugin,
  WasmtimeObservabilityHook,
  WasmtimeRuntime,
  WasmtimeUpstreamDialect,
} from '../../src/index.ts';
import { EVENTS, response, sseEvent, upstream } from '../support/samples.ts';
import { Random } from '../wire/fuzz/random.ts';
import { caller, candidates, misbehaving, plugin, request } from './guests.ts';
import type { Job } from './jobs.ts';
import { ensure } from './scenario.ts';

const bytes = Buffer.alloc(256 * 1024, '{"model":"m"}');

export async function soakJob(seed: number): Promise<Job> {
  const random = new Random(seed);
  const runtime = new WasmtimeRuntime({
    ...{ allocationStrategy: 'pooling', poolTotalMemories: 16, poolTotalCoreInstances: 16 },
  });
  const filterOf = (name: string) =>
    new WasmtimeFilterPlugin(runtime, runtime.registerFilter(SlotKey.global(name), name, plugin(name)));
  const dialectOf = (name: string) =>
    new WasmtimeUpstreamDialect(runtime, runtime.registerShape(SlotKey.global(`${name}!`), name, plugin(name)));
  const [cacheAware, misbehave] = [filterOf('cache-aware'), filterOf('misbehave')];
  const [rewrite, transforms] = [dialectOf('rewrite'), dialectOf('transforms')];
  const slot = runtime.registerObserve(SlotKey.global('observe'), 'lifecycle', plugin('lifecycle'));
  const lifecycle = new WasmtimeObservabilityHook(runtime, slot);
  const offered = candidates(8);
  const body = () => bytes.subarray(0, random.below(100) === 0 ? random.below(bytes.length) : random.below(2_048));

  const calls: (() => Promise<unknown> | unknown)[] = [
    () => checkKept(cacheAware.filter(request({ body: body() }), caller(), offered).keptUpstreamIds),
    () => checkKept(cacheAware.filter(request({ body: body() }), caller({ keep: 3 }), offered).keptUpstreamIds, 3),
    () => {
      const sent = body();
      const shaped = rewrite.shape(request({ body: sent }), upstream, caller());
      ensure(Buffer.compare(shaped.body, sent) === 0, () => 'a shaped body differs from the one that was sent');
    },
    () => {
      const error = lifecycle.observe(random.pick(EVENTS));
      ensure(error === undefined, () => `observe failed: ${error}`);
    },
    () => transforms.transformSseEvent({ ...sseEvent(), principal: caller({ transform: 'upper' }) }),
    () => transforms.transformResponse(response({ body: body(), principal: caller({ transform: 'body' }) })),
  ];
  return async (units) => {
    const offThread: Promise<unknown>[] = [];
    for (let done = 0; done < units; done++) {
      if (done % 500 === 0) {
        const thread = { where: 'thread' } as const;
        offThread.push(cacheAware.filterAsync(request({ body: body() }), caller(), offered, thread));
      } else if (done % 1_000 === 1) {
        await misbehave.filterAsync(...misbehaving('unreachable')).catch(expectFilterError);
      } else {
        await random.pick(calls)();
      }
    }
    await Promise.all(offThread);
    return units;
  };
}

function checkKept(ids: readonly string[], count = 1): void {
  ensure(ids.length === count, () => `${ids.length} candidates kept instead of ${count}`);
}

function expectFilterError(error: unknown): void {
  if (!(error instanceof FilterError)) throw error;
}
