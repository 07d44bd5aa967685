import { describe, expect, it } from 'vitest';
import {
  ClosedError,
  type HotEngineConfigInput,
  InvalidArgumentError,
  type ObserveEvent,
  PluginChain,
  SlotKey,
  WasmtimeObservabilityHook,
} from '../../src/index.ts';
import { plugin } from '../support/plugins.ts';
import { newRuntime, recorder } from '../support/runtimes.ts';
import { started } from '../support/samples.ts';

const hostileKey = new SlotKey('hostile', 'observer');
const goodKey = new SlotKey('good', 'observer');
const event = (behavior = ''): ObserveEvent => ({
  type: 'request_started',
  requestId: `do:${behavior}`,
  downstreamUserAgent: null,
});

function observers(config: HotEngineConfigInput = {}) {
  const { sink, take } = recorder();
  const runtime = newRuntime(config, { metrics: sink });
  const register = (key: SlotKey, name: string) => {
    const slot = runtime.registerObserve(key, name, plugin('misbehave'));
    return { slot, hook: new WasmtimeObservabilityHook(runtime, slot) };
  };
  const registered = { runtime, hostile: register(hostileKey, 'hostile'), good: register(goodKey, 'good'), take };
  take();
  return registered;
}

describe('observeQueued', () => {
  it('delivers events in order outside the request path, and drain waits for them', async () => {
    const { runtime, good, take } = observers();
    for (let at = 0; at < 200; at++) expect(good.hook.observeQueued(event())).toBe(true);
    expect(take()).toEqual([]);
    expect(runtime.stats().inFlight).toBe(1);
    await runtime.drain();
    expect(take()).toEqual(Array(200).fill('call good observe'));
    expect(good.slot.status).toMatchObject({ calls: 200, droppedEvents: 0 });
  });

  it('copies the event, so that later changes have no effect', async () => {
    const { runtime, good } = observers();
    const changing = { ...event() } as { requestId: string };
    good.hook.observeQueued(changing as ObserveEvent);
    changing.requestId = 'do:unreachable';
    await runtime.drain();
    expect(good.slot.status.failures.trap).toBe(0);
  });

  it('delivers events to other observers while one observer loops and fills its own queue', async () => {
    const { runtime, hostile, good } = observers({ deadlineMs: 300, maxQueuedEvents: 4 });
    const taken = Array.from({ length: 10 }, () => hostile.hook.observeQueued(event('loop')));
    expect(taken).toEqual([...Array(4).fill(true), ...Array(6).fill(false)]);
    expect(good.hook.observeQueued(event())).toBe(true);
    await expect.poll(() => good.slot.status.calls).toBe(1);
    expect(hostile.slot.status).toMatchObject({ droppedEvents: 6 });
    expect(hostile.slot.status.calls).toBeLessThan(4);
    runtime.disable(hostileKey, 'stop');
    await runtime.drain();
  });

  it('delivers the events that follow a failed one', async () => {
    const { runtime, good, take } = observers();
    for (const behavior of ['', 'unreachable', '', 'unreachable', '']) good.hook.observeQueued(event(behavior));
    await runtime.drain();
    expect(good.slot.status).toMatchObject({ calls: 5, failures: { trap: 2 } });
    expect(take().filter((line) => line.startsWith('trap'))).toHaveLength(2);
  });

  it('bounds the bytes of all queues together', async () => {
    const { runtime, hostile, good } = observers({ maxQueuedEventBytes: 600 });
    const outcomes = [hostile, good, hostile, good].map(({ hook }) =>
      hook.observeQueued({ ...event(), requestId: 'x'.repeat(200) } as ObserveEvent),
    );
    expect(outcomes).toEqual([true, true, false, false]);
    await runtime.drain();
    expect(good.hook.observeQueued(event())).toBe(true);
  });

  it('leaves a share of the bytes to other owners when all observers of one owner are slow', async () => {
    const { runtime, hostile, good } = observers({ deadlineMs: 300, maxQueuedEventBytes: 4_000 });
    const second = runtime.registerObserve(new SlotKey('hostile', 'second'), 'second', plugin('misbehave'));
    const hooks = [hostile.hook, new WasmtimeObservabilityHook(runtime, second)];
    while (hooks.map((hook) => hook.observeQueued(event('loop'))).some(Boolean));
    expect(good.hook.observeQueued(event())).toBe(true);
    for (const { key } of [hostile.slot, second]) runtime.disable(key, 'stop');
    await runtime.drain();
    expect(good.slot.status).toMatchObject({ calls: 1, droppedEvents: 0 });
  });

  it('counts failures for the breaker, and rejects events while it is open', async () => {
    const { runtime, good } = observers({ breaker: { enabled: true } });
    for (let at = 0; at < 50; at++) good.hook.observeQueued(event('unreachable'));
    await runtime.drain();
    const { calls, unavailable, breaker } = good.slot.status;
    expect(breaker?.state).toBe('open');
    expect(calls).toBe(3);
    expect(calls + unavailable).toBe(50);
  });

  it('does not deliver events of several versions in one batch, even if they share a module', async () => {
    const { runtime, good } = observers({ breaker: { enabled: true, openMs: 60_000 } });
    for (let at = 0; at < 3; at++) good.hook.observe(event('unreachable'));
    expect(good.slot.status.breaker?.state).toBe('open');
    runtime.registerObserve(goodKey, 'good', plugin('lifecycle'));
    runtime.rollback(goodKey);
    const current = WasmtimeObservabilityHook.follow(runtime, goodKey);
    const { calls } = good.slot.status;
    good.hook.observeQueued(event());
    for (let at = 0; at < 5; at++) current.observeQueued(event());
    await runtime.drain();
    expect(good.slot.status.calls).toBe(calls + 5);
    expect(good.slot.status).toMatchObject({ unavailable: 1, breaker: { state: 'closed' } });
  });

  it('keeps one line for a slot if a getter of an event queues another one', async () => {
    const { runtime, good } = observers({ maxQueuedEvents: 2 });
    const nested: boolean[] = [];
    const outer = () => ({
      ...event(),
      get requestId() {
        nested.push(good.hook.observeQueued(event()));
        return 'outer';
      },
    });
    expect(good.hook.observeQueued(outer())).toBe(true);
    expect(runtime.stats().inFlight).toBe(1);
    await runtime.drain();
    expect(good.hook.observeQueued(event())).toBe(true);
    expect(good.hook.observeQueued(outer())).toBe(false);
    expect(nested).toEqual([true, true]);
    await runtime.drain();
    expect(good.slot.status).toMatchObject({ calls: 4, droppedEvents: 1 });
  });

  it('delivers queued events after close, and rejects new ones', async () => {
    const { runtime, good } = observers();
    good.hook.observeQueued(event());
    runtime.close();
    expect(() => good.hook.observeQueued(event())).toThrow(ClosedError);
    await runtime.drain();
    expect(good.slot.status.calls).toBe(1);
  });

  it('throws InvalidArgument for an invalid event', () => {
    const { good } = observers();
    expect(() => good.hook.observeQueued(5 as unknown as ObserveEvent)).toThrow(InvalidArgumentError);
    expect(() => good.hook.observeQueued({ type: 'nothing' } as unknown as ObserveEvent)).toThrow(InvalidArgumentError);
  });

  it('drops the event if the followed slot does not exist', () => {
    const runtime = newRuntime();
    expect(WasmtimeObservabilityHook.follow(runtime, goodKey).observeQueued(event())).toBe(false);
  });
});

describe('a chain', () => {
  it('queues the event for every observer and returns how many dropped it', async () => {
    const { runtime, hostile, good } = observers({ maxQueuedEvents: 1 });
    const seen: ObserveEvent[] = [];
    const other = {
      observe: () => undefined,
      async observeAsync(event: ObserveEvent) {
        seen.push(event);
        throw new Error('foreign');
      },
    };
    const chain = new PluginChain({ observers: [hostile.hook, other, good.hook] });
    hostile.hook.observeQueued(event());
    expect(chain.observeQueued(started())).toBe(1);
    expect(seen).toHaveLength(1);
    await runtime.drain();
    expect(good.slot.status.calls).toBe(1);
  });
});
