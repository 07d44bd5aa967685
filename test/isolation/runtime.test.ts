import { Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import {
  FilterError,
  type HotEngineConfigInput,
  InvalidArgumentError,
  ModuleRejectedError,
  outcomeToHttp,
  PluginChain,
  PluginUnavailableError,
  prometheusSink,
  SlotKey,
  SlotNotFoundError,
  WasmtimeFilterPlugin,
  WasmtimeRuntime,
} from '../../src/index.ts';
import { rejected, thrown } from '../support/errors.ts';
import { guest } from '../support/guest.ts';
import { plugin } from '../support/plugins.ts';
import { newRuntime, recorder } from '../support/runtimes.ts';
import { caller, candidates, request } from '../support/samples.ts';

const own = new SlotKey('tenant', 'filter');
const shared = SlotKey.global('filter');

function misbehave(key: SlotKey, config: HotEngineConfigInput = {}) {
  const { sink, take } = recorder();
  const runtime = newRuntime(
    { ...config, breaker: { enabled: true, openMs: 60_000, ...config.breaker } },
    { metrics: sink },
  );
  const slot = runtime.registerFilter(key, 'm', plugin('misbehave'));
  const filter = new WasmtimeFilterPlugin(runtime, slot);
  take();
  const call = (behavior = '', id = 'c') =>
    filter.filter(request(), { ...caller({ do: behavior }), id }, candidates(1));
  /** Makes a call that the guard must refuse; returns the error. */
  const refused = (id = 'c') => {
    const { cause, retryable } = thrown(FilterError, () => call('', id));
    expect(cause).toBeInstanceOf(PluginUnavailableError);
    const error = cause as PluginUnavailableError;
    expect(retryable).toBe(error.state === 'breaker-open');
    return error;
  };
  return { runtime, slot, filter, take, call, refused };
}

describe('breaker of a slot', () => {
  it.each(['unreachable', 'answer-outside', 'answer-garbage:64'])('opens on consecutive "%s"', (behavior) => {
    const { call, refused, slot, take } = misbehave(own);
    for (let at = 0; at < 3; at++) expect(() => call(behavior)).toThrow(FilterError);
    take();
    expect(refused()).toMatchObject({ code: 'CC_LB_BREAKER_OPEN', state: 'breaker-open', versionId: 1, plugin: 'm' });
    expect(refused().retryAfterMs).toBeGreaterThan(0);
    // The guest is not called.
    expect(take()).toEqual([]);
    expect(slot.status).toMatchObject({ breaker: { state: 'open' }, calls: 3, unavailable: 2 });
  });

  it('opens on expired calls, and not on calls whose thread was starved of CPU time', async () => {
    const { filter, refused, slot } = misbehave(own, { deadlineMs: 30 });
    const expire = () =>
      rejected(FilterError, filter.filterAsync(request(), caller({ do: 'loop' }), [], { where: 'thread' }));
    const expired = async () => {
      await expire();
      return slot.status.breaker?.state;
    };
    await expect.poll(expired).toBe('open');
    refused();
    const { calls, failures } = slot.status;
    expect(failures.expired).toBeGreaterThanOrEqual(3);
    expect(failures.expired + failures.starved).toBe(calls);
  });

  it('is off in the default config', () => {
    const { slot, call } = misbehave(own, { breaker: { enabled: false } });
    for (let at = 0; at < 10; at++) expect(() => call('unreachable')).toThrow(FilterError);
    expect(() => call()).not.toThrow();
    expect(slot.status).toMatchObject({ breaker: null, failures: { trap: 10 } });
  });

  it('lets a trial through after its back-off and closes when it succeeds', async () => {
    const { call, refused, slot } = misbehave(own, { breaker: { openMs: 20 } });
    for (let at = 0; at < 3; at++) expect(() => call('unreachable')).toThrow(FilterError);
    refused();
    await expect.poll(() => attempt(call)).toBe(true);
    expect(slot.status.breaker?.state).toBe('closed');
  });

  it('opens a global slot for the failing principal, then for all when several principals fail', () => {
    const { call, refused, slot } = misbehave(shared, { breaker: { openPrincipals: 2 } });
    const fail = (id: string) => {
      for (let at = 0; at < 3; at++) expect(() => call('unreachable', id)).toThrow(FilterError);
    };
    fail('hostile');
    refused('hostile');
    expect(() => call('', 'other')).not.toThrow();
    expect(slot.status.breaker).toEqual({ state: 'closed', openPrincipals: 1 });
    fail('another');
    refused('other');
    expect(slot.status.breaker?.state).toBe('open');
  });

  it('belongs to a version: a new version starts closed, and calls of an old version cannot open its breaker', () => {
    const { runtime, call, refused, slot } = misbehave(own);
    for (let at = 0; at < 3; at++) expect(() => call('unreachable')).toThrow(FilterError);
    runtime.registerFilter(own, 'm', plugin('cache-aware'));
    expect(slot.status).toMatchObject({ versionId: 2, breaker: { state: 'closed' } });
    // The adapter is still pinned to version 1, whose breaker is open.
    refused();
    const current = WasmtimeFilterPlugin.follow(runtime, own);
    expect(() => current.filter(request(), caller(), candidates(1))).not.toThrow();
  });

  it('rejects off-thread calls that were queued when it opened', async () => {
    const { filter, slot } = misbehave(own, { deadlineMs: 100, breaker: { consecutiveFailures: 1 } });
    const calls = Array.from({ length: 6 }, () =>
      rejected(FilterError, filter.filterAsync(request(), caller({ do: 'unreachable' }), [], { where: 'thread' })),
    );
    const causes = (await Promise.all(calls)).map(({ cause }) => (cause as { code?: string }).code);
    expect(causes).toContain('CC_LB_GUEST_TRAP');
    expect(causes).toContain('CC_LB_BREAKER_OPEN');
    expect(slot.status.failures.trap).toBeLessThan(6);
  });

  it('does not count aborted calls, saturation or invalid arguments', async () => {
    const { filter, slot, call } = misbehave(own, { maxStagingBytes: 8, breaker: { consecutiveFailures: 1 } });
    await rejected(FilterError, filter.filterAsync(request(), caller(), [], { where: 'thread' }));
    const signal = AbortSignal.abort();
    await filter.filterAsync(request(), caller(), [], { signal }).catch(() => {});
    expect(() => filter.filter(request({ path: 5 as unknown as string }), caller(), [])).toThrow(InvalidArgumentError);
    expect(slot.status.breaker?.state).toBe('closed');
    expect(() => call()).not.toThrow();
  });

  it('applies the failure policy immediately, with Retry-After under fail-closed', () => {
    const { call, filter, runtime, slot } = misbehave(own, { breaker: { openMs: 2_500 } });
    for (let at = 0; at < 3; at++) expect(() => call('unreachable')).toThrow(FilterError);
    const chain = new PluginChain({ filters: [filter] });
    const outcome = chain.filter(request(), caller(), candidates(2));
    expect(outcome).toMatchObject({ kind: 'candidates', candidates: candidates(2) });
    expect(slot.status.passThroughs).toBe(1);
    runtime.registerFilter(own, 'm', plugin('misbehave'), { failurePolicy: 'fail-closed' });
    const strict = WasmtimeFilterPlugin.follow(runtime, own);
    for (let at = 0; at < 3; at++)
      expect(() => strict.filter(request(), caller({ do: 'unreachable' }), [])).toThrow(FilterError);
    const stopped = new PluginChain({ filters: [strict] }).filter(request(), caller(), candidates(2));
    if (stopped.kind !== 'unavailable') throw new Error('expected the request to be stopped');
    expect(outcomeToHttp(stopped)).toMatchObject({ status: 503, headers: { 'retry-after': '3' } });
  });
});

function attempt(call: () => unknown): boolean {
  try {
    call();
    return true;
  } catch {
    return false;
  }
}

describe('the kill switch', () => {
  it('rejects pinned, followed and raw calls, across swaps and evictions, until the key is enabled', () => {
    const { runtime, refused, call, slot } = misbehave(own, { breaker: { enabled: false } });
    runtime.disable(own, 'leaks prompts');
    expect(refused()).toMatchObject({
      code: 'CC_LB_PLUGIN_DISABLED',
      state: 'disabled',
      reason: 'leaks prompts',
      retryAfterMs: null,
    });
    expect(slot.status.disabled).toBe('leaks prompts');
    expect(() => runtime.callFilter(own, new Uint8Array(8))).toThrow(PluginUnavailableError);
    runtime.registerFilter(own, 'm', plugin('cache-aware'));
    const followed = WasmtimeFilterPlugin.follow(runtime, own);
    expect(() => followed.filter(request(), caller(), candidates(1))).toThrow(/disabled/);
    runtime.evictSlot(own);
    refused();
    runtime.registerFilter(own, 'm', plugin('cache-aware'));
    expect(() => followed.filter(request(), caller(), candidates(1))).toThrow(/disabled/);
    expect(runtime.disabledKeys()).toEqual([[own, 'leaks prompts']]);
    expect(runtime.enable(own)).toBe(true);
    expect(runtime.enable(own)).toBe(false);
    expect(() => followed.filter(request(), caller(), candidates(1))).not.toThrow();
    expect(() => call()).not.toThrow();
  });

  it('applies to keys that are registered later, and to no others', () => {
    const runtime = newRuntime();
    runtime.disable(own, 'not yet');
    const filter = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(own, 'm', plugin('cache-aware')));
    const other = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(shared, 'm', plugin('cache-aware')));
    expect(() => filter.filter(request(), caller(), [])).toThrow(/disabled/);
    expect(() => other.filter(request(), caller(), [])).not.toThrow();
  });

  it('does not affect the trial of a half-open breaker', async () => {
    const { runtime, call, refused } = misbehave(own, { breaker: { openMs: 10 } });
    for (let at = 0; at < 3; at++) expect(() => call('unreachable')).toThrow(FilterError);
    await new Promise((resolve) => setTimeout(resolve, 20));
    runtime.disable(own, 'stop');
    expect(refused().state).toBe('disabled');
    runtime.enable(own);
    expect(() => call()).not.toThrow();
  });

  it('rejects queued calls, and lets running ones finish', async () => {
    const { runtime, filter, slot } = misbehave(own, { deadlineMs: 200, breaker: { enabled: false } });
    const calls = Array.from({ length: 5 }, () =>
      rejected(FilterError, filter.filterAsync(request(), caller({ do: 'loop' }), [], { where: 'thread' })),
    );
    runtime.disable(own, 'stop');
    const codes = (await Promise.all(calls)).map(({ cause }) => (cause as { code?: string }).code);
    expect(codes[0]).toBe('CC_LB_GUEST_TRAP');
    expect(codes.at(-1)).toBe('CC_LB_PLUGIN_DISABLED');
    expect(runtime.stats().engine.stagedBytes).toBe(0);
    expect(slot.status.unavailable).toBeGreaterThan(0);
  });

  it('escapes reasons in messages', () => {
    const { runtime, refused } = misbehave(own);
    runtime.disable(own, '<b>\u001b[31m\n');
    expect(refused().message).toBe('plugin disabled: "<b>\\u001b[31m\\n"');
  });

  it('rejects invalid arguments', () => {
    const runtime = newRuntime();
    expect(() => runtime.disable({} as SlotKey, 'x')).toThrow(InvalidArgumentError);
    expect(thrown(InvalidArgumentError, () => runtime.disable(own, 5 as unknown as string)).path).toBe('reason');
    expect(() => runtime.enable(null as unknown as SlotKey)).toThrow(InvalidArgumentError);
  });
});

describe('a rollback', () => {
  it('restores the previous version once, as a new version with its options', () => {
    const { runtime, slot } = misbehave(own);
    const [first] = [slot.current];
    runtime.registerFilter(own, 'next', plugin('cache-aware'), { deadlineMs: 77 });
    expect(runtime.rollback(own)).toBe(slot);
    expect(slot.current).toMatchObject({ versionId: 3, contentHash: first.contentHash, pluginName: 'm' });
    expect(slot.current.deadlineMs).toBe(first.deadlineMs);
    expect(WasmtimeFilterPlugin.follow(runtime, own).filter(request(), caller(), candidates(1))).toBeDefined();
    expect(thrown(ModuleRejectedError, () => runtime.rollback(own)).reason).toContain('no version to roll back to');
  });

  it('takes effect before pending registrations, which do not apply', async () => {
    const { runtime, slot } = misbehave(own);
    runtime.registerFilter(own, 'm', plugin('cache-aware'));
    const pending = runtime.registerFilterAsync(own, 'm', plugin('cache-aware-v2'));
    runtime.rollback(own);
    expect(await pending).toBe(slot);
    expect(slot.current.versionId).toBe(3);
  });

  it('rejects a key without a slot', () => {
    expect(() => newRuntime().rollback(own)).toThrow(SlotNotFoundError);
  });
});

describe('the status of a slot', () => {
  it('counts rejected registrations with their reason', () => {
    const { runtime, slot } = misbehave(own);
    expect(() => runtime.registerFilter(own, 'm', guest({ hooks: ['observe'] }))).toThrow(ModuleRejectedError);
    expect(slot.status).toMatchObject({ refusals: 1, lastRefusal: { code: 'CC_LB_MODULE_REJECTED' } });
    expect(slot.status.lastRefusal?.reason).toContain('filter');
  });

  it('is published as series that are removed with the slot', async () => {
    const registry = new Registry();
    using runtime = new WasmtimeRuntime({ breaker: { enabled: true } }, { metrics: prometheusSink(registry) });
    const filter = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(own, 'a\u001b\n', plugin('misbehave')));
    expect(() => filter.filter(request(), caller({ do: 'unreachable' }), [])).toThrow(FilterError);
    runtime.publishPoolMetrics();
    const text = await registry.metrics();
    const labels = 'principal="tenant",plugin="filter"';
    expect(text).toMatch(
      /cc_lb_plugin_slot_info\{principal="tenant",plugin="filter",name="a\\\\u001b\\\\u000a",kind="filter",version="1",hash="[0-9a-f]{64}",enforcement="enforce"\} 1/,
    );
    expect(text).toContain(`cc_lb_plugin_slot_breaker_state{${labels}} 0`);
    expect(text).toContain(`cc_lb_plugin_slot_failures_total{${labels},failure="trap"} 1`);
    runtime.publishPoolMetrics();
    expect(await registry.metrics()).toContain(`cc_lb_plugin_slot_calls_total{${labels}} 1`);
    runtime.evictSlot(own);
    expect(() => filter.filter(request(), caller({ do: 'unreachable' }), [])).toThrow(FilterError);
    runtime.publishPoolMetrics();
    const after = await registry.metrics();
    expect(after).not.toContain('tenant');
    expect(after).not.toContain('plugin="a');
    expect(after).toContain('cc_lb_plugin_trap_total{plugin="(retired)",hook="filter",phase="cc_lb_filter"} 1');
  });

  it('counts refusals by code', async () => {
    const registry = new Registry();
    using runtime = new WasmtimeRuntime({}, { metrics: prometheusSink(registry) });
    expect(() => runtime.registerFilter(own, 'x', new Uint8Array(8))).toThrow();
    await rejected(ModuleRejectedError, runtime.registerFilterAsync(own, 'x', new Uint8Array(8)));
    const evicted = runtime.registerFilterAsync(own, 'x', plugin('cache-aware'));
    runtime.evictSlot(own);
    await rejected(SlotNotFoundError, evicted);
    const text = await registry.metrics();
    expect(text).toContain('cc_lb_plugin_registration_refusals_total{code="CC_LB_MODULE_REJECTED"} 2');
    expect(text).not.toContain('CC_LB_SLOT_EVICTED');
  });
});
