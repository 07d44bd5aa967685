import { describe, expect, it } from 'vitest';
import {
  type AsyncCallOptions,
  FilterError,
  GuestTrapError,
  type HotEngineConfigInput,
  PluginUnavailableError,
  SlotKey,
  WasmtimeFilterPlugin,
} from '../../src/index.ts';
import type { Slot } from '../../src/slots.ts';
import { rejected } from '../support/errors.ts';
import { guest, LONGER_THAN_PROBES } from '../support/guest.ts';
import { plugin } from '../support/plugins.ts';
import { newRuntime, recorder } from '../support/runtimes.ts';
import { caller, request } from '../support/samples.ts';

const key = new SlotKey('tenant', 'slow');
const LONG = request({ body: Buffer.alloc(LONGER_THAN_PROBES) });
const SHORT = request({ body: Buffer.alloc(0), headers: [] });

/** Computes in so many steps if the request is longer than that of a probe, then answers. */
const computing = (steps: number) =>
  guest({
    hook: `(local $left i32)
    (if (i32.gt_u (local.get 1) (i32.const ${LONGER_THAN_PROBES}))
      (then (local.set $left (i32.const ${steps}))
        (loop $again
          (local.set $left (i32.sub (local.get $left) (i32.const 1)))
          (br_if $again (local.get $left)))))
    $answer`,
  });
const SLOW = computing(200_000_000);

function filterOf(bytes: Uint8Array, config: HotEngineConfigInput = {}) {
  const { sink, take, seconds } = recorder();
  const runtime = newRuntime({ inlineSliceMs: 2, deadlineMs: 60_000, ...config }, { metrics: sink });
  const slot = runtime.registerFilter(key, 'slow', bytes);
  const filter = new WasmtimeFilterPlugin(runtime, slot);
  take();
  seconds.length = 0;
  return { runtime, slot: slot as Slot, filter, take, seconds };
}

const isOffThread = ({ version }: Slot) => version.guard.stats.placements[0]?.offThread;

describe('an asynchronous call that exceeds its slice', () => {
  it('is repeated off the thread, returns the same answer, and counts as one call', async () => {
    const { filter, runtime, take, slot } = filterOf(SLOW);
    const call = filter.filterAsync(LONG, caller(), []);
    expect(runtime.stats().inFlight).toBe(1);
    expect(await call).toEqual({ keptUpstreamIds: [], reason: '', perCandidateReasons: [] });
    expect(take()).toEqual(['call slow filter']);
    expect(slot.status).toMatchObject({ calls: 1, failures: { trap: 0, expired: 0 } });
  });

  it('has its full deadline off the thread, and counts as one trap if it expires', async () => {
    const { filter, take, seconds, slot } = filterOf(plugin('misbehave'), { deadlineMs: 150 });
    const { cause } = await rejected(FilterError, filter.filterAsync(request(), caller({ do: 'loop' }), []));
    expect(cause).toBeInstanceOf(GuestTrapError);
    expect(cause).toMatchObject({ trap: 'interrupt', retryable: true });
    expect(take()).toEqual(['call slow filter', 'trap slow filter cc_lb_filter']);
    expect(seconds[0]).toBeGreaterThanOrEqual(0.15);
    expect(slot.status.calls).toBe(1);
  });

  it('moves the next calls off the thread while it runs, also if its caller aborts it', async () => {
    const { filter, slot } = filterOf(plugin('misbehave'));
    const controller = new AbortController();
    const call = filter.filterAsync(request(), caller({ do: 'loop' }), [], { signal: controller.signal });
    expect(isOffThread(slot)).toBe(true);
    controller.abort();
    await expect(call).rejects.toBe(controller.signal.reason);
    expect(isOffThread(slot)).toBe(true);
  });

  it('counts its guest time for the breaker, also if its caller aborts it', async () => {
    // The slice alone exceeds the limit of 10 ms.
    const breaker = { enabled: true, guestTimeShare: 0.001, windowMs: 10_000 };
    const { filter, slot } = filterOf(plugin('misbehave'), { breaker, inlineSliceMs: 20 });
    const controller = new AbortController();
    const call = filter.filterAsync(request(), caller({ do: 'loop' }), [], { signal: controller.signal });
    controller.abort();
    await call.catch(() => {});
    expect(slot.status.breaker?.state).toBe('open');
    expect(slot.status.failures.expired).toBe(0);
  });

  it('counts as a call with its guest time if a full queue rejects its repetition', async () => {
    const { filter, seconds, slot } = filterOf(plugin('misbehave'), { maxQueuedCalls: 1 });
    const controller = new AbortController();
    const loop = (options: AsyncCallOptions) => filter.filterAsync(request(), caller({ do: 'loop' }), [], options);
    const { signal } = controller;
    const others = Array.from({ length: 8 }, () => loop({ where: 'thread', signal }));
    const { cause } = await rejected(FilterError, loop({}));
    expect(cause).toMatchObject({ resource: 'queue', retryable: true });
    expect(seconds).toHaveLength(1);
    controller.abort();
    await Promise.allSettled(others);
    expect(slot.status.calls).toBe(9);
  });

  it('starts off the thread after many calls in one turn that are short each', async () => {
    const { filter, slot } = filterOf(computing(2_000_000), { inlineSliceMs: 10 });
    const calls: unknown[] = [];
    while (!isOffThread(slot) && calls.length < 500) calls.push(filter.filterAsync(LONG, caller(), []));
    expect(isOffThread(slot)).toBe(true);
    await Promise.all(calls);
  });

  it('starts off the thread after several long calls, and inline again after short ones', async () => {
    const { filter, slot } = filterOf(SLOW);
    for (let at = 0; at < 3; at++) await filter.filterAsync(LONG, caller(), []);
    expect(isOffThread(slot)).toBe(true);
    await expect
      .poll(async () => {
        await filter.filterAsync(SHORT, caller(), []);
        return isOffThread(slot);
      })
      .toBe(false);
  });

  it('moves the calls of later versions off the thread too, which could each block it again', async () => {
    const { filter, runtime, slot } = filterOf(SLOW);
    await filter.filterAsync(LONG, caller(), []);
    runtime.registerFilter(key, 'slow', plugin('misbehave'));
    expect(slot.version.versionId).toBe(2);
    expect(isOffThread(slot)).toBe(true);
  });

  it('rejects with the reason of a signal that aborts the repeated call', async () => {
    const { filter, runtime } = filterOf(plugin('misbehave'));
    const controller = new AbortController();
    const call = filter.filterAsync(request(), caller({ do: 'loop' }), [], { signal: controller.signal });
    expect(runtime.stats().inFlight).toBe(1);
    const reason = new Error('the client left');
    controller.abort(reason);
    await expect(call).rejects.toBe(reason);
  });

  it('finishes if its runtime is closed or its slot is evicted during the repetition', async () => {
    const { filter, runtime } = filterOf(SLOW);
    const calls = [filter.filterAsync(LONG, caller(), []), filter.filterAsync(LONG, caller(), [])];
    runtime.evictSlot(key);
    runtime.close();
    expect(await Promise.all(calls)).toHaveLength(2);
  });

  it('is rejected if its plugin is disabled while the repeated call waits', async () => {
    const { filter, runtime } = filterOf(plugin('misbehave'), { deadlineMs: 300 });
    const calls = Array.from({ length: 4 }, () =>
      rejected(FilterError, filter.filterAsync(request(), caller({ do: 'loop' }), [])),
    );
    runtime.disable(key, 'stop');
    const last = (await Promise.all(calls)).at(-1);
    expect(last?.cause).toBeInstanceOf(PluginUnavailableError);
  });
});

describe('a call without a slice', () => {
  it.each([
    ['where it asks for this thread', 2, 'inline'],
    ['where slices are off', 0, 'auto'],
  ] as const)('runs to its deadline on this thread %s', async (_, inlineSliceMs, where) => {
    const { filter, runtime, take } = filterOf(plugin('misbehave'), { inlineSliceMs, deadlineMs: 40 });
    const call = filter.filterAsync(request(), caller({ do: 'loop' }), [], { where });
    expect(runtime.stats().inFlight).toBe(0);
    expect((await rejected(FilterError, call)).cause).toMatchObject({ trap: 'interrupt' });
    expect(take()).toEqual(['call slow filter', 'trap slow filter cc_lb_filter']);
  });

  it('includes every synchronous call', () => {
    const { filter } = filterOf(SLOW);
    expect(filter.filter(LONG, caller(), []).keptUpstreamIds).toEqual([]);
  });
});
