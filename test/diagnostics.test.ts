import diagnosticsChannel from 'node:diagnostics_channel';
import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { areDroppedHeadersWatched, isCallTraced, publishSaturation, publishTrap } from '../src/diagnostics.ts';
import {
  admitWasm,
  admitWasmAsync,
  type CallEvent,
  type DroppedHeaderEvent,
  GuestTrapError,
  ModuleRejectedError,
  type PluginSlot,
  SlotKey,
  WasmtimeFilterPlugin,
  WasmtimeObservabilityHook,
  type WasmtimeRuntime,
  WasmtimeUpstreamDialect,
} from '../src/index.ts';
import { rejected, thrown } from './support/errors.ts';
import { guest } from './support/guest.ts';
import { plugin } from './support/plugins.ts';
import { isolatedRuntime, newRuntime } from './support/runtimes.ts';
import { caller, candidates, request, started, upstream } from './support/samples.ts';

const PREFIX = 'cc-lb-runtime-wasmtime';
const key = new SlotKey('alice', 'k');
const subscriptions: [string, (event: unknown) => void][] = [];

afterEach(() => {
  for (const [name, listener] of subscriptions.splice(0)) diagnosticsChannel.unsubscribe(name, listener);
});

/** Records the events of a channel. */
function eventsOf(name: string): unknown[] {
  const events: unknown[] = [];
  const listener = (event: unknown) => void events.push(event);
  diagnosticsChannel.subscribe(name, listener);
  subscriptions.push([name, listener]);
  return events;
}

const PHASES = ['start', 'end', 'error', 'asyncStart', 'asyncEnd'] as const;
type Phase = (typeof PHASES)[number];

/** Records the published phases of calls, and the context of each call. */
function tracedCalls(): { phases: Phase[]; contexts: Set<CallEvent & { result?: unknown; error?: unknown }> } {
  const phases: Phase[] = [];
  const contexts = new Set<CallEvent>();
  for (const phase of PHASES) {
    const name = `tracing:${PREFIX}:call:${phase}`;
    const listener = (context: unknown) => {
      phases.push(phase);
      contexts.add(context as CallEvent);
    };
    diagnosticsChannel.subscribe(name, listener);
    subscriptions.push([name, listener]);
  }
  return { phases, contexts };
}

function misbehave(runtime: WasmtimeRuntime): WasmtimeFilterPlugin {
  return new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key, 'm', plugin('misbehave')));
}

const bad = guest({ metadata: { name: '' } });

describe('admission', () => {
  it('is published for a registration with its name, principal and content', async () => {
    const events = eventsOf(`${PREFIX}:admission`);
    const runtime = newRuntime();
    const slots: PluginSlot[] = [
      runtime.registerFilter(key, 'one', plugin('cache-aware')),
      await runtime.registerFilterAsync(key, 'two', plugin('cache-aware-v2')),
    ];
    const { contentHash } = slots[1]!.current;
    const common = { principal: 'alice', kind: 'filter', error: undefined };
    expect(events).toEqual([
      { ...common, plugin: 'one', contentHash: expect.stringMatching(/^[0-9a-f]{64}$/) },
      { ...common, plugin: 'two', contentHash },
    ]);
    // Equal content is not admitted again.
    runtime.registerFilter(key, 'two', plugin('cache-aware-v2'));
    await runtime.registerFilterAsync(key, 'two', plugin('cache-aware-v2'));
    expect(events).toHaveLength(2);
  });

  it('is published with the error of a rejected module', async () => {
    const events = eventsOf(`${PREFIX}:admission`);
    const runtime = newRuntime();
    const errors = [
      thrown(ModuleRejectedError, () => runtime.registerFilter(key, 'bad', bad)),
      await rejected(ModuleRejectedError, runtime.registerFilterAsync(key, 'bad', bad)),
    ];
    const common = { plugin: 'bad', principal: 'alice', kind: 'filter', contentHash: undefined };
    expect(events).toEqual(errors.map((error) => ({ ...common, error })));
  });

  it("is published for admitWasm with the plugin's own name", async () => {
    const events = eventsOf(`${PREFIX}:admission`);
    const runtime = newRuntime();
    const { contentHash } = admitWasm(runtime, plugin('cache-aware'));
    await admitWasmAsync(runtime, plugin('cache-aware'), 'filter');
    thrown(ModuleRejectedError, () => admitWasm(runtime, bad));
    expect(events).toMatchObject([
      { plugin: 'cache-aware', principal: undefined, kind: undefined, contentHash },
      { plugin: 'cache-aware', kind: 'filter', contentHash },
      { plugin: undefined, error: { code: 'CC_LB_MODULE_REJECTED' } },
    ]);
  });
});

describe('slots', () => {
  it('publish each version that goes into service', () => {
    const events = eventsOf(`${PREFIX}:swap`);
    const runtime = newRuntime();
    const first = runtime.registerFilter(key, 'one', plugin('cache-aware')).current;
    runtime.registerFilter(key, 'one', plugin('cache-aware'));
    const second = runtime.registerFilter(key, 'two', plugin('cache-aware-v2')).current;
    thrown(ModuleRejectedError, () => runtime.registerFilter(key, 'bad', bad));
    const common = { principal: 'alice', kind: 'filter' };
    expect(events).toEqual([
      { ...common, plugin: 'one', versionId: 1, previousVersionId: undefined, contentHash: first.contentHash },
      { ...common, plugin: 'two', versionId: 2, previousVersionId: 1, contentHash: second.contentHash },
    ]);
  });

  it('publish their eviction by evictSlot, retainSlots and close', () => {
    const events = eventsOf(`${PREFIX}:eviction`);
    const runtime = newRuntime();
    const put = (name: string) => runtime.registerFilter(SlotKey.global(name), name, plugin('cache-aware'));
    for (const name of ['a', 'b', 'c']) put(name);
    runtime.evictSlot(SlotKey.global('a'));
    runtime.evictSlot(SlotKey.global('a'));
    runtime.retainSlots([SlotKey.global('c')]);
    runtime.close();
    const common = { principal: '__global__', kind: 'filter', versionId: 1 };
    expect(events).toEqual(['a', 'b', 'c'].map((name) => ({ ...common, plugin: name })));
  });
});

describe('the trace of a call', () => {
  it('starts and ends for an inline call', () => {
    const runtime = newRuntime();
    const filter = misbehave(runtime);
    const { phases, contexts } = tracedCalls();
    const output = filter.filter(request(), caller(), candidates(1));
    expect(phases).toEqual(['start', 'end']);
    const context = { plugin: 'm', principal: 'alice', versionId: 1, hook: 'filter', where: 'inline', result: output };
    expect([...contexts]).toEqual([context]);
  });

  it('lasts until the promise of an off-thread call settles', async () => {
    const runtime = newRuntime();
    const filter = misbehave(runtime);
    const { phases, contexts } = tracedCalls();
    const called = filter.filterAsync(request(), caller(), candidates(1), { where: 'thread' });
    expect(phases).toEqual(['start', 'end']);
    const output = await called;
    expect(phases).toEqual(['start', 'end', 'asyncStart', 'asyncEnd']);
    const context = { plugin: 'm', principal: 'alice', versionId: 1, hook: 'filter', where: 'thread', result: output };
    expect([...contexts]).toEqual([context]);
  });

  it('has the cause of the adapter error for a failed call', async () => {
    const runtime = newRuntime();
    const filter = misbehave(runtime);
    const { phases, contexts } = tracedCalls();
    const trapping = caller({ do: 'read-outside' });
    const inline = thrown(Error, () => filter.filter(request(), trapping, candidates(1)));
    expect(phases.splice(0)).toEqual(['start', 'error', 'end']);
    const threaded = await rejected(Error, filter.filterAsync(request(), trapping, candidates(1), { where: 'thread' }));
    expect(phases).toEqual(['start', 'end', 'error', 'asyncStart', 'asyncEnd']);
    expect([...contexts].map(({ error }) => error)).toEqual([inline.cause, threaded.cause]);
    for (const { error } of contexts) expect(error).toBeInstanceOf(GuestTrapError);
  });

  it('exists for raw calls and probes', () => {
    const runtime = isolatedRuntime();
    const { contexts } = tracedCalls();
    runtime.registerObserve(key, 'o', guest({ hooks: ['observe'] }));
    runtime.callObserve(key, new Uint8Array(0));
    expect([...contexts]).toMatchObject([
      { plugin: 'o', principal: 'alice', versionId: undefined, hook: 'observe' },
      { plugin: 'o', principal: 'alice', versionId: 1, hook: 'observe' },
    ]);
  });

  it('does not fail the call when a subscriber throws', async () => {
    const runtime = newRuntime();
    const filter = misbehave(runtime);
    const listener = () => {
      throw new Error('deliberate');
    };
    const name = `tracing:${PREFIX}:call:start`;
    const uncaught = new Promise<Error>((resolve) => {
      const handlers = process.listeners('uncaughtException');
      process.removeAllListeners('uncaughtException');
      process.once('uncaughtException', (error) => {
        for (const handler of handlers) process.on('uncaughtException', handler);
        resolve(error);
      });
    });
    diagnosticsChannel.subscribe(name, listener);
    const { keptUpstreamIds } = filter.filter(request(), caller(), candidates(1));
    diagnosticsChannel.unsubscribe(name, listener);
    expect(keptUpstreamIds).toHaveLength(1);
    expect((await uncaught).message).toBe('deliberate');
  });
});

describe('trap and saturation events', () => {
  it('publishes a guest trap with its phase and trap', async () => {
    const events = eventsOf(`${PREFIX}:trap`);
    const filter = misbehave(newRuntime());
    const fail = (behavior: string, deadlineMs = 1000) =>
      thrown(Error, () => filter.filter(request(), caller({ do: behavior }), candidates(1), { deadlineMs }));
    fail('read-outside');
    fail('loop', 20);
    const off = { where: 'thread', deadlineMs: 20 } as const;
    await rejected(Error, filter.filterAsync(request(), caller({ do: 'loop' }), candidates(1), off));
    const common = { plugin: 'm', principal: 'alice', versionId: 1, hook: 'filter', phase: 'cc_lb_filter' };
    expect(events).toEqual([
      { ...common, trap: 'memory-out-of-bounds' },
      { ...common, trap: 'interrupt' },
      { ...common, trap: 'interrupt' },
    ]);
  });

  it('publishes a rejected answer with phase reject', () => {
    const events = eventsOf(`${PREFIX}:trap`);
    const runtime = newRuntime();
    const answer = 'i64.const 5';
    const bytes = guest({
      hook: `(if (result i64) (i32.lt_u (local.get 1) (i32.const 2048)) (then $answer) (else ${answer}))`,
    });
    const filter = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key, 'g', bytes));
    thrown(Error, () => filter.filter(request({ body: Buffer.alloc(4096) }), caller(), []));
    expect(events).toMatchObject([{ plugin: 'g', hook: 'filter', phase: 'reject', trap: undefined }]);
  });

  it('publishes a saturation with its resource', async () => {
    const events = eventsOf(`${PREFIX}:saturation`);
    const filter = misbehave(isolatedRuntime({ maxStagingBytes: 3000 }));
    const call = filter.filterAsync(request({ body: Buffer.alloc(3000) }), caller(), [], { where: 'thread' });
    await rejected(Error, call);
    const subject = { plugin: 'm', principal: 'alice', versionId: 1, hook: 'filter' };
    expect(events).toEqual([{ ...subject, resource: 'staging' }]);
  });
});

it("the header lines that are dropped from a shape's answer are published", async () => {
  const events = eventsOf(`${PREFIX}:dropped-header`);
  const runtime = newRuntime();
  const dialect = new WasmtimeUpstreamDialect(runtime, runtime.registerShape(key, 's', plugin('rewrite')));
  const headers: [string, string][] = [
    ['accept', '*/*'],
    ['Connection', 'close'],
    ['x-anthropic-a', '1'],
    ['x-anthropic-b', '2'],
  ];
  for (const where of ['inline', 'thread'] as const) {
    await dialect.shapeAsync(request({ headers }), upstream, caller(), { where });
    const subject = { plugin: 's', principal: 'alice', versionId: 1, hook: 'shape' };
    const names = ['connection', 'x-anthropic-a', 'x-anthropic-b'];
    expect(events.splice(0)).toEqual(names.map((name) => ({ ...subject, name })));
  }
});

it('dropped header lines are published after their call is finished, for a monitored version too', async () => {
  const runtime = newRuntime();
  const slot = runtime.registerShape(key, 'enforced', plugin('rewrite'));
  runtime.registerShape(key, 'monitored', plugin('rewrite'), { enforcement: 'monitor' });
  const calls: unknown[] = [];
  const name = `${PREFIX}:dropped-header`;
  const listener = (event: unknown) => {
    calls.push([(event as DroppedHeaderEvent).plugin, slot.status.calls]);
  };
  diagnosticsChannel.subscribe(name, listener);
  subscriptions.push([name, listener]);
  const dialect = new WasmtimeUpstreamDialect(runtime, slot);
  dialect.shape(request({ headers: [['connection', 'close']] }), upstream, caller());
  await runtime.drain();
  expect(calls).toEqual([
    ['enforced', 1],
    ['monitored', 1],
  ]);
});

it('queued events of observers have no events of the call', async () => {
  const events = eventsOf(`tracing:${PREFIX}:call:start`);
  const runtime = newRuntime();
  const slot = runtime.registerObserve(key, 'o', plugin('misbehave'));
  events.length = 0;
  new WasmtimeObservabilityHook(runtime, slot).observeQueued(started());
  await runtime.drain();
  expect(slot.status.calls).toBe(1);
  expect(events).toEqual([]);
});

it('no event is built without subscribers', () => {
  const context = (): never => {
    throw new Error('an event was built');
  };
  expect(isCallTraced()).toBe(false);
  expect(areDroppedHeadersWatched()).toBe(false);
  publishTrap({ context }, 'cc_lb_filter', 'interrupt');
  publishSaturation('queue', { context });
  eventsOf(`${PREFIX}:trap`);
  expect(() => publishTrap({ context }, 'cc_lb_filter', 'interrupt')).toThrow('an event was built');
});

it('a breaker that opens and a kill switch publish events', () => {
  const breakers = eventsOf(`${PREFIX}:breaker`);
  const switches = eventsOf(`${PREFIX}:kill-switch`);
  const runtime = newRuntime({ breaker: { enabled: true } });
  const slot = runtime.registerFilter(key, 'named', plugin('misbehave'));
  const filter = new WasmtimeFilterPlugin(runtime, slot);
  for (let at = 0; at < 3; at++) {
    expect(() => filter.filter(request(), caller({ do: 'unreachable' }), candidates(1))).toThrow();
  }
  const subject = { plugin: 'named', principal: key.principal };
  expect(breakers).toEqual([{ ...subject, caller: null, state: 'open', cause: 'consecutive-failures' }]);
  runtime.disable(key, 'why');
  runtime.enable(key);
  runtime.enable(key);
  const { principal, plugin: name } = key;
  expect(switches).toEqual([
    { plugin: name, principal, reason: 'why' },
    { plugin: name, principal, reason: null },
  ]);
});

it('docs/diagnostics.md lists exactly the channels of the code', () => {
  const code = readFileSync(new URL('../src/diagnostics.ts', import.meta.url), 'utf8');
  const document = readFileSync(new URL('../docs/diagnostics.md', import.meta.url), 'utf8');
  const plain = [...code.matchAll(/ channel\(`\$\{PREFIX\}:([a-z-]+)`\)/g)].map(([, name]) => `${PREFIX}:${name}`);
  const traced = [...code.matchAll(/tracingChannel<[^(]*\(`\$\{PREFIX\}:([a-z-]+)`\)/g)].flatMap(([, name]) =>
    PHASES.map((phase) => `tracing:${PREFIX}:${name}:${phase}`),
  );
  const documented = [...document.matchAll(/^\| `([^`]+)` \|/gm)].map(([, name]) => name);
  expect(plain.length).toBeGreaterThan(5);
  expect(documented.toSorted()).toEqual([...plain, ...traced].toSorted());
});
