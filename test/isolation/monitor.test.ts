import { describe, expect, it, vi } from 'vitest';
import {
  FilterError,
  InvalidArgumentError,
  ModuleRejectedError,
  type MonitorReport,
  PluginChain,
  SlotKey,
  SlotNotFoundError,
  type SlotOptions,
  WasmtimeFilterPlugin,
  WasmtimeObservabilityHook,
  WasmtimeUpstreamDialect,
} from '../../src/index.ts';
import { instanceWithGetters } from '../support/classes.ts';
import { rejected, thrown } from '../support/errors.ts';
import { guest, LONGER_THAN_PROBES, misbehavesAfterProbe } from '../support/guest.ts';
import { plugin } from '../support/plugins.ts';
import { newRuntime, recorder } from '../support/runtimes.ts';
import { caller, candidates, request, response, sseEvent, started, upstream } from '../support/samples.ts';

const key = new SlotKey('tenant', 'plugin');
const MONITOR: SlotOptions = { enforcement: 'monitor' };

function monitoring() {
  const reports: MonitorReport[] = [];
  const { sink, take } = recorder();
  const runtime = newRuntime(
    { deadlineMs: 200 },
    { metrics: sink, onMonitored: (report) => void reports.push(report) },
  );
  return { runtime, reports, take };
}

/**
 * Registers `cache-aware`, which keeps some candidates, as the enforcing version of a slot that also has a monitored
 * version.
 */
function monitorCacheAware(monitored: string, options: SlotOptions = MONITOR) {
  const { runtime, reports, take } = monitoring();
  const slot = runtime.registerFilter(key, 'enforcing', plugin('cache-aware'));
  expect(runtime.registerFilter(key, 'monitored', plugin(monitored), options)).toBe(slot);
  const filter = WasmtimeFilterPlugin.follow(runtime, key);
  take();
  return { runtime, reports, slot, filter, take };
}

/** Registers a monitored version of which one call at a time is copied. */
function limitedToOne() {
  const runtime = newRuntime({ maxMonitoredCalls: 1 });
  const slot = runtime.registerFilter(key, 'enforcing', plugin('cache-aware'));
  runtime.registerFilter(key, 'monitored', plugin('cache-aware'), MONITOR);
  return { runtime, slot, filter: WasmtimeFilterPlugin.follow(runtime, key) };
}

describe('a monitored version in a slot with an enforcing version', () => {
  it('leaves the enforcing version current and never changes a decision', async () => {
    const { runtime, slot, filter, reports } = monitorCacheAware('misbehave');
    expect(slot.current).toMatchObject({ versionId: 1, pluginName: 'enforcing', enforcement: 'enforce' });
    const output = filter.filter(request(), caller({ keep: 1 }), candidates(3));
    expect(output.keptUpstreamIds).toHaveLength(1);
    await runtime.drain();
    expect(reports).toHaveLength(1);
    expect(reports[0]).toMatchObject({ hook: 'filter', agreed: false, enforced: { output } });
    expect(reports[0]?.monitored.output).toMatchObject({ keptUpstreamIds: candidates(3).map((c) => c.upstreamId) });
    expect(slot.status.monitor).toMatchObject({ pluginName: 'monitored', differed: 1, agreed: 0 });
    expect(slot.status.calls).toBe(1);
  });

  it('counts equal decisions as agreed, inline and off the thread', async () => {
    const { runtime, slot, filter } = monitorCacheAware('cache-aware-v2');
    await filter.filterAsync(request(), caller(), candidates(1), { where: 'thread' });
    await runtime.drain();
    expect(slot.status.monitor).toMatchObject({ agreed: 1, differed: 0, failed: 0 });
  });

  it.each(['unreachable', 'loop', 'answer-outside', 'answer-garbage:64'])(
    'does not affect the request when it fails by "%s"',
    async (behavior) => {
      const { runtime, slot, filter, reports } = monitorCacheAware('misbehave');
      expect(filter.filter(request(), caller({ do: behavior }), candidates(1)).keptUpstreamIds).toHaveLength(1);
      await runtime.drain();
      expect(slot.status).toMatchObject({
        monitor: { failed: 1 },
        failures: { trap: 0, expired: 0, invalidAnswer: 0 },
      });
      expect(reports[0]).toMatchObject({ agreed: false });
      expect(reports[0]?.monitored.error).toBeInstanceOf(Error);
    },
  );

  it('receives a copy, so that later changes to the caller’s buffers have no effect', async () => {
    const { runtime, reports, filter } = monitorCacheAware('cache-aware-v2');
    const body = Buffer.from('{"model":"m"}');
    const call = filter.filterAsync(request({ body }), caller(), candidates(1));
    body.fill(0);
    await call;
    await runtime.drain();
    expect(reports[0]?.agreed).toBe(true);
  });

  it('receives the sampled share of traffic', async () => {
    const { runtime, slot, filter } = monitorCacheAware('cache-aware-v2', { ...MONITOR, sample: 0 });
    for (let at = 0; at < 20; at++) filter.filter(request(), caller(), candidates(1));
    await runtime.drain();
    expect(slot.status.monitor).toMatchObject({ agreed: 0, differed: 0, failed: 0, skipped: 0 });
  });

  it('skips bodies that are too large and calls over the limit in flight', async () => {
    const { runtime, slot, filter } = monitorCacheAware('cache-aware-v2');
    filter.filter(request({ body: Buffer.alloc(2 ** 21) }), caller(), candidates(1));
    expect(slot.status.monitor?.skipped).toBe(1);
    for (let at = 0; at < 40; at++) filter.filter(request(), caller(), candidates(1));
    expect(slot.status.monitor?.skipped).toBe(1 + 8);
    await runtime.drain();
  });

  it('copies the bodies and the calls that the config allows', async () => {
    const runtime = newRuntime({ maxMonitoredBodyBytes: 100, maxMonitoredCalls: 2 });
    const slot = runtime.registerFilter(key, 'enforcing', plugin('cache-aware'));
    runtime.registerFilter(key, 'monitored', plugin('cache-aware'), MONITOR);
    const filter = WasmtimeFilterPlugin.follow(runtime, key);
    filter.filter(request({ body: Buffer.alloc(101) }), caller(), candidates(1));
    expect(slot.status.monitor?.skipped).toBe(1);
    for (let at = 0; at < 3; at++) filter.filter(request({ body: Buffer.alloc(100) }), caller(), candidates(1));
    expect(slot.status.monitor?.skipped).toBe(1 + 1);
    await runtime.drain();
  });

  it('copies at most maxMonitoredCalls of the calls that run at once', async () => {
    const { slot, filter, runtime } = limitedToOne();
    const call = () => filter.filterAsync(request(), caller(), candidates(1), { where: 'thread' });
    await Promise.all(Array.from({ length: 20 }, call));
    await runtime.drain();
    expect(slot.status.monitor).toMatchObject({ agreed: 1, skipped: 19 });
  });

  it('does not delay the off-thread calls of its callers', async () => {
    const runtime = newRuntime();
    const slot = runtime.registerFilter(key, 'enforcing', plugin('cache-aware'));
    const endless = guest({ hook: misbehavesAfterProbe('(loop (br 0)) unreachable') });
    runtime.registerFilter(key, 'endless', endless, { ...MONITOR, deadlineMs: 3_000 });
    const filter = WasmtimeFilterPlugin.follow(runtime, key);
    const large = request({ body: Buffer.alloc(LONGER_THAN_PROBES) });
    for (let i = 0; i < 2; i++) filter.filter(large, caller(), candidates(1));
    await filter.filterAsync(request(), caller(), candidates(1), { where: 'thread' });
    expect(slot.status.monitor!.failed).toBeLessThan(2);
    await runtime.drain();
    expect(slot.status.monitor).toMatchObject({ failed: 2, agreed: 0, differed: 1 });
  });

  it('does not count a finished, an aborted, or an invalid call as in flight', async () => {
    const { slot, filter, runtime } = limitedToOne();
    const monitored = async () => {
      filter.filter(request(), caller(), candidates(1));
      await runtime.drain();
    };
    await monitored();
    const controller = new AbortController();
    const options = { where: 'thread', signal: controller.signal } as const;
    const aborted = filter.filterAsync(request(), caller(), candidates(1), options);
    controller.abort(new Error('the client left'));
    await rejected(Error, aborted);
    await monitored();
    const invalid = request({ requestId: 5 as unknown as string });
    thrown(InvalidArgumentError, () => filter.filter(invalid, caller(), candidates(1)));
    await monitored();
    expect(slot.status.monitor).toMatchObject({ agreed: 3, skipped: 1 });
  });

  it('is one call in flight, and drain waits for its report', async () => {
    const { runtime, filter, reports } = monitorCacheAware('cache-aware-v2');
    filter.filter(request(), caller(), candidates(1));
    expect(runtime.stats().inFlight).toBe(1);
    await runtime.drain();
    expect(reports).toHaveLength(1);
    expect(runtime.stats().inFlight).toBe(0);
  });

  it('reports failures of the enforcing version too', async () => {
    const { runtime, reports } = monitoring();
    runtime.registerFilter(key, 'e', plugin('misbehave'));
    runtime.registerFilter(key, 'm', plugin('cache-aware'), MONITOR);
    const filter = WasmtimeFilterPlugin.follow(runtime, key);
    expect(() => filter.filter(request(), caller({ do: 'unreachable' }), candidates(1))).toThrow(FilterError);
    await runtime.drain();
    expect(reports[0]?.enforced.error).toBeInstanceOf(FilterError);
    expect(reports[0]?.agreed).toBe(false);
  });

  it('becomes the enforcing version by enforce()', () => {
    const { runtime, slot } = monitorCacheAware('cache-aware-v2');
    expect(runtime.enforce(key)).toBe(slot);
    expect(slot.current).toMatchObject({ versionId: 2, pluginName: 'monitored', enforcement: 'enforce' });
    expect(slot.status.monitor).toBeNull();
    expect(thrown(ModuleRejectedError, () => runtime.enforce(key)).reason).toContain('no monitored version');
    runtime.rollback(key);
    expect(slot.current.pluginName).toBe('enforcing');
  });

  it('is dropped by stopMonitoring()', () => {
    const { runtime, slot } = monitorCacheAware('cache-aware-v2');
    expect(runtime.stopMonitoring(key)).toBe(true);
    expect(runtime.stopMonitoring(key)).toBe(false);
    expect(slot.status.monitor).toBeNull();
  });

  it('is kept when the enforcing version is swapped, and is not registered again with the same content', () => {
    const { runtime, slot } = monitorCacheAware('misbehave');
    runtime.registerFilter(key, 'next', plugin('cache-aware-v2'));
    expect(slot.status.monitor?.pluginName).toBe('monitored');
    const before = slot.status.monitor;
    runtime.registerFilter(key, 'monitored', plugin('misbehave'), MONITOR);
    expect(slot.status.monitor).toEqual(before);
  });

  it('is not called while its key is disabled', async () => {
    const { runtime, slot, filter } = monitorCacheAware('cache-aware-v2');
    runtime.disable(key, 'stop');
    expect(() => filter.filter(request(), caller(), candidates(1))).toThrow(/disabled/);
    await runtime.drain();
    expect(slot.status.monitor?.failed).toBe(1);
  });

  it('can be evicted, or its runtime closed, while its calls run', async () => {
    const { runtime, filter } = monitorCacheAware('misbehave');
    filter.filter(request(), caller({ do: 'loop' }), candidates(1));
    runtime.evictSlot(key);
    runtime.close();
    await runtime.drain();
  });
});

describe('a monitored version in a slot without an enforcing version', () => {
  it('keeps all candidates', async () => {
    const { runtime, reports } = monitoring();
    const slot = runtime.registerFilter(key, 'm', plugin('cache-aware'), MONITOR);
    expect(slot.current.enforcement).toBe('monitor');
    const filter = WasmtimeFilterPlugin.follow(runtime, key);
    const all = candidates(3).map(({ upstreamId }) => upstreamId);
    expect(filter.filter(request(), caller({ keep: 1 }), candidates(3)).keptUpstreamIds).toEqual(all);
    expect((await filter.filterAsync(request(), caller({ keep: 1 }), candidates(3))).keptUpstreamIds).toEqual(all);
    await runtime.drain();
    expect(reports).toHaveLength(2);
    expect(reports[0]?.monitored.output).toMatchObject({ keptUpstreamIds: [expect.any(String)] });
    expect(() => runtime.callFilter(key, new Uint8Array(8))).toThrow(ModuleRejectedError);
  });

  it('rejects an aborted call and invalid options, and passes an invalid request through as skipped', async () => {
    const { runtime, reports } = monitoring();
    const slot = runtime.registerFilter(key, 'm', plugin('cache-aware'), MONITOR);
    const filter = WasmtimeFilterPlugin.follow(runtime, key);
    const reason = new Error('the client left');
    const aborted = filter.filterAsync(request(), caller(), candidates(1), { signal: AbortSignal.abort(reason) });
    expect(await rejected(Error, aborted)).toBe(reason);
    const bogus = { where: 'bogus' as 'auto' };
    const error = await rejected(InvalidArgumentError, filter.filterAsync(request(), caller(), candidates(1), bogus));
    expect(error.path).toBe('options.where');
    const invalid = request({ requestId: 5 as unknown as string });
    expect(filter.filter(invalid, caller(), candidates(1)).keptUpstreamIds).toHaveLength(1);
    await runtime.drain();
    expect(reports).toEqual([]);
    expect(slot.status.monitor).toMatchObject({ skipped: 1, failed: 0 });
  });

  it('passes a request through whose fields are getters of a class and whose headers can be read once', async () => {
    const { runtime } = monitoring();
    runtime.registerShape(key, 'm', guest({ hooks: ['shape', 'transform_response', 'transform_sse_event'] }), MONITOR);
    const dialect = WasmtimeUpstreamDialect.follow(runtime, key);
    const ctx = instanceWithGetters({ ...request({ path: '/v1/x' }), headers: new Headers({ a: '1' }).entries() });
    const shaped = dialect.shape(ctx, { ...upstream, baseUrl: 'https://up.test' }, caller());
    expect(shaped).toMatchObject({ url: { href: 'https://up.test/v1/x' }, method: ctx.method, headers: [['a', '1']] });
    await runtime.drain();
  });

  it('passes requests, responses, and events through unchanged', async () => {
    const { runtime, reports } = monitoring();
    const hooks = ['shape', 'transform_response', 'transform_sse_event'] as const;
    runtime.registerShape(key, 'm', guest({ hooks }), MONITOR);
    const dialect = WasmtimeUpstreamDialect.follow(runtime, key);
    const shaped = dialect.shape(request({ path: '/v1/x' }), { ...upstream, baseUrl: 'https://up.test' }, caller());
    expect(shaped.url.href).toBe('https://up.test/v1/x');
    expect(dialect.transformResponse(response({ body: Buffer.alloc(1) }))).toEqual({ kind: 'unchanged' });
    expect(await dialect.transformSseEventAsync(sseEvent())).toEqual({ kind: 'unchanged' });
    await runtime.drain();
    expect(reports.map(({ hook }) => hook).sort()).toEqual([...hooks].sort());
  });

  it('does not receive encoded responses and events, and passes them through', async () => {
    const { runtime, reports } = monitoring();
    runtime.registerShape(key, 'm', guest({ hooks: ['shape', 'transform_response', 'transform_sse_event'] }), MONITOR);
    const dialect = WasmtimeUpstreamDialect.follow(runtime, key);
    const headers = { 'content-encoding': 'gzip' };
    expect(dialect.transformResponse(response({ headers }))).toEqual({ kind: 'unchanged' });
    expect(await dialect.transformSseEventAsync(sseEvent({ headers }))).toEqual({ kind: 'unchanged' });
    await runtime.drain();
    expect(reports).toEqual([]);
  });

  it('receives events, and its failures do not reject them', async () => {
    const { runtime, reports } = monitoring();
    runtime.registerObserve(key, 'm', plugin('misbehave'), MONITOR);
    const hook = WasmtimeObservabilityHook.follow(runtime, key);
    const event = { ...started(), requestId: 'do:unreachable' } as ReturnType<typeof started>;
    expect(hook.observe(event)).toBeUndefined();
    expect(new PluginChain({ observers: [hook] }).observeQueued(event)).toBe(0);
    await runtime.drain();
    expect(reports).toHaveLength(2);
    expect(reports[0]?.monitored.error).toBeDefined();
  });

  it('is replaced by a version that is registered with enforcement', () => {
    const { runtime } = monitoring();
    const slot = runtime.registerFilter(key, 'm', plugin('cache-aware'), MONITOR);
    runtime.registerFilter(key, 'e', plugin('cache-aware-v2'));
    expect(slot.current).toMatchObject({ pluginName: 'e', enforcement: 'enforce' });
    expect(slot.status.monitor).toBeNull();
  });

  it('becomes the enforcing version by enforce()', () => {
    const { runtime } = monitoring();
    const slot = runtime.registerFilter(key, 'm', plugin('cache-aware'), MONITOR);
    runtime.enforce(key);
    expect(slot.current.enforcement).toBe('enforce');
    expect(
      WasmtimeFilterPlugin.follow(runtime, key).filter(request(), caller({ keep: 1 }), candidates(3)).keptUpstreamIds,
    ).toHaveLength(1);
  });
});

describe('monitoring with invalid input', () => {
  it.each([
    [{ enforcement: 'observe' }, 'options.enforcement'],
    [{ enforcement: 'monitor', sample: -0.1 }, 'options.sample'],
    [{ enforcement: 'monitor', sample: 1.1 }, 'options.sample'],
    [{ enforcement: 'monitor', sample: Number.NaN }, 'options.sample'],
    [{ sample: 0.5 }, 'options.sample'],
  ])('of %o is rejected', (options, path) => {
    const error = thrown(InvalidArgumentError, () =>
      newRuntime().registerFilter(key, 'm', plugin('cache-aware'), options as SlotOptions),
    );
    expect(error.path).toBe(path);
  });

  it('throws SlotNotFound for a key without a slot', () => {
    expect(() => newRuntime().enforce(key)).toThrow(SlotNotFoundError);
    expect(newRuntime().stopMonitoring(key)).toBe(false);
  });

  it('emits one warning for a listener that throws, and fails no call', async () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const runtime = newRuntime(
      {},
      {
        onMonitored: () => {
          throw new Error('listener');
        },
      },
    );
    runtime.registerFilter(key, 'm', plugin('cache-aware'), MONITOR);
    const filter = WasmtimeFilterPlugin.follow(runtime, key);
    for (let at = 0; at < 3; at++) filter.filter(request(), caller(), candidates(1));
    await runtime.drain();
    await new Promise(setImmediate);
    expect(warn).toHaveBeenCalledTimes(1);
    warn.mockRestore();
  });
});
