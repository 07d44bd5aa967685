import { beforeEach, describe, expect, it } from 'vitest';
import {
  ClosedError,
  ModuleRejectedError,
  type PluginSlot,
  ProbeFailedError,
  SlotKey,
  SlotNotFoundError,
  WasmtimeFilterPlugin,
  type WasmtimeRuntime,
} from '../src/index.ts';
import { rejected } from './support/errors.ts';
import { guest } from './support/guest.ts';
import { plugin } from './support/plugins.ts';
import { isolatedRuntime, newRuntime } from './support/runtimes.ts';
import { caller, candidates, request } from './support/samples.ts';
import { append, customSection } from './support/wat.ts';

const key = new SlotKey('alice', 'k');
const LOOP = '(loop $l br $l)';
/** A plugin that takes long to compile, and one that does not. */
const slow = plugin('report-0-1-2');
const quick = guest();
const another = (n: number) => append(quick, customSection('n', Uint8Array.of(n)));

let runtime: WasmtimeRuntime;
beforeEach(() => {
  // An engine of its own: nothing is compiled yet.
  runtime = isolatedRuntime();
});
const register = (name: string, bytes: Uint8Array, options?: Parameters<WasmtimeRuntime['registerFilterAsync']>[3]) =>
  runtime.registerFilterAsync(key, name, bytes, options);
/** The version that the slot has when the promise resolves. */
const applied = async (promise: Promise<PluginSlot>) => {
  const { current } = await promise;
  return `${current.versionId} ${current.pluginName}`;
};

describe('an asynchronous registration', () => {
  it('makes the slot that a synchronous one makes', async () => {
    const slot = await register('n', plugin('cache-aware'), { deadlineMs: 77, failurePolicy: 'fail-closed' });
    const other = isolatedRuntime();
    const options = { deadlineMs: 77, failurePolicy: 'fail-closed' } as const;
    expect(slot.current).toEqual(other.registerFilter(key, 'n', plugin('cache-aware'), options).current);
    expect(runtime.getSlot(key)).toBe(slot);
    expect(
      new WasmtimeFilterPlugin(runtime, slot).filter(request(), caller(), candidates(2)).keptUpstreamIds,
    ).toHaveLength(1);
  });

  it('leaves the event loop alone while it compiles', async () => {
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    await register('slow', slow);
    clearInterval(timer);
    expect(turns).toBeGreaterThan(3);
  });

  it('takes the bytes as they are when it is called', async () => {
    const bytes = Buffer.from(quick);
    const promise = register('n', bytes);
    bytes.fill(0);
    expect((await promise).current.contentHash).toBe(
      isolatedRuntime().registerFilter(key, 'n', quick).current.contentHash,
    );
  });

  it('of the same content and options changes nothing, of other options the cell', async () => {
    const slot = await register('first', quick);
    const { current } = slot;
    expect(await register('second', quick)).toBe(slot);
    expect(slot.current).toBe(current);
    expect(await applied(register('third', quick, { deadlineMs: 5 }))).toBe('2 third');
    expect(runtime.stats().engine.cacheMisses).toBe(1);
  });

  it.each([
    ['no module', Buffer.from('no module'), ModuleRejectedError],
    ['one of another hook', guest({ hooks: ['shape'] }), ModuleRejectedError],
    ['one that fails its probe', guest({ hook: 'unreachable' }), ProbeFailedError],
  ])('of %s is refused and leaves the slot serving', async (_, bytes, type) => {
    const slot = await register('n', quick);
    await rejected(type, register('bad', bytes));
    expect(slot.current.versionId).toBe(1);
    expect(await applied(register('good', another(1)))).toBe('2 good');
  });

  it('of another kind is refused', async () => {
    await register('n', slow);
    const error = await rejected(ModuleRejectedError, runtime.registerShapeAsync(key, 'n', slow));
    expect(error.reason).toBe('slot "alice"/"k" has kind filter, expected shape');
  });
});

describe('registrations on one key', () => {
  it('apply in the order of their calls, whichever is admitted first', async () => {
    const order: string[] = [];
    const all = [
      applied(register('slow', slow)),
      applied(register('quick', quick)),
      applied(register('more', another(1))),
    ];
    for (const promise of all) promise.then((version) => order.push(version));
    await Promise.all(all);
    expect(order).toEqual(['1 slow', '2 quick', '3 more']);
    expect(runtime.getSlot(key)?.current.pluginName).toBe('more');
  });

  it('do not wait for those on other keys', async () => {
    const order: string[] = [];
    const elsewhere = runtime.registerFilterAsync(SlotKey.global('other'), 'quick', quick);
    const here = register('slow', slow);
    elsewhere.then(() => order.push('elsewhere'));
    here.then(() => order.push('here'));
    await Promise.all([here, elsewhere]);
    expect(order).toEqual(['elsewhere', 'here']);
  });

  it('apply although one before them is refused', async () => {
    const refused = rejected(ProbeFailedError, register('bad', guest({ hook: 'unreachable' })));
    expect(await applied(register('good', quick))).toBe('1 good');
    await refused;
  });

  it('that an eviction overtakes are refused as evicted, later ones apply', async () => {
    const overtaken = [register('one', slow), register('two', quick)];
    expect(runtime.evictSlot(key)).toBe(false);
    const later = register('three', another(1));
    for (const promise of overtaken) {
      const error = await rejected(SlotNotFoundError, promise);
      expect(error).toMatchObject({ code: 'CC_LB_SLOT_EVICTED', principal: 'alice' });
    }
    expect(await applied(later)).toBe('1 three');
    expect(runtime.slotCount).toBe(1);
  });

  it('are overtaken by retainSlots too', async () => {
    await register('first', quick);
    const overtaken = register('second', slow);
    expect(runtime.retainSlots([])).toEqual([key]);
    expect(await rejected(SlotNotFoundError, overtaken)).toMatchObject({
      code: 'CC_LB_SLOT_EVICTED',
      plugin: 'second',
    });
    expect(runtime.getSlot(key)).toBeUndefined();
  });

  it('of a first version are overtaken by retainSlots as well', async () => {
    const overtaken = register('first', slow);
    expect(runtime.retainSlots([])).toEqual([]);
    expect(await rejected(SlotNotFoundError, overtaken)).toMatchObject({ code: 'CC_LB_SLOT_EVICTED', plugin: 'first' });
    expect(runtime.slotCount).toBe(0);
  });

  it('are not overtaken by retainSlots that keeps their key', async () => {
    await register('first', quick);
    const pending = register('second', slow);
    runtime.retainSlots([key]);
    expect(await applied(pending)).toBe('2 second');
  });

  it('that a synchronous one overtakes resolve with the slot as it is', async () => {
    await register('first', quick);
    const overtaken = [register('slow', slow), register('quick', another(1))];
    const slot = runtime.registerFilter(key, 'now', another(2));
    expect(slot.current.versionId).toBe(2);
    const later = register('later', another(3));
    expect(await Promise.all(overtaken)).toEqual([slot, slot]);
    expect(await applied(later)).toBe('3 later');
  });

  it('that a synchronous one overtakes do not swap although it changed nothing, or made the slot', async () => {
    for (const first of [true, false]) {
      runtime = isolatedRuntime();
      if (first) runtime.registerFilter(key, 'first', quick);
      const overtaken = register('slow', slow);
      const slot = runtime.registerFilter(key, 'now', quick);
      expect(await overtaken).toBe(slot);
      expect(slot.current).toMatchObject({ versionId: 1, pluginName: first ? 'first' : 'now' });
    }
  });

  it('are not overtaken by a synchronous one that is refused', async () => {
    const pending = register('slow', slow);
    expect(() => runtime.registerFilter(key, 'bad', Buffer.from('bad'))).toThrow(ModuleRejectedError);
    expect(await applied(pending)).toBe('1 slow');
  });

  it('that a slot of another kind overtakes are refused', async () => {
    const overtaken = register('slow', slow);
    runtime.registerShape(key, 'shape', plugin('echo'));
    await rejected(ModuleRejectedError, overtaken);
    expect(runtime.getSlot(key)).toMatchObject({ kind: 'shape', current: { versionId: 1 } });
  });

  it('that closing overtakes are refused as closed', async () => {
    runtime.registerFilter(key, 'first', quick);
    const pending = [register('slow', slow), register('quick', another(1))];
    runtime.close();
    for (const promise of pending) await rejected(ClosedError, promise);
  });

  it('evicted and then registered synchronously are refused as evicted', async () => {
    const overtaken = register('slow', slow);
    runtime.evictSlot(key);
    const slot = runtime.registerFilter(key, 'now', quick);
    expect(await rejected(SlotNotFoundError, overtaken)).toMatchObject({ code: 'CC_LB_SLOT_EVICTED' });
    expect(slot.current.versionId).toBe(1);
  });
});

describe('an aborted registration', () => {
  const reason = new Error('enough');

  it('is not begun where it was aborted before', async () => {
    expect(await rejected(Error, register('n', quick, { signal: AbortSignal.abort(reason) }))).toBe(reason);
    expect(runtime.stats().engine.cacheMisses).toBe(0);
  });

  it('rejects at once, changes nothing and holds nobody up', async () => {
    const slot = await register('first', quick);
    const controller = new AbortController();
    const aborted = register('slow', slow, { signal: controller.signal });
    const later = register('later', another(1));
    controller.abort(reason);
    expect(await rejected(Error, aborted)).toBe(reason);
    expect(slot.current.versionId).toBe(1);
    expect(await applied(later)).toBe('2 later');
  });

  it('rejects while it waits for its turn', async () => {
    const before = register('slow', slow);
    const controller = new AbortController();
    let beforeEnded = false;
    before.then(() => {
      beforeEnded = true;
    });
    const waiting = register('quick', quick, { signal: controller.signal });
    setTimeout(() => controller.abort(reason), 5);
    expect(await rejected(Error, waiting)).toBe(reason);
    expect(beforeEnded).toBe(false);
    expect(await applied(before)).toBe('1 slow');
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(runtime.getSlot(key)?.current.versionId).toBe(1);
  });

  it('interrupts a probe', async () => {
    runtime = newRuntime({ deadlineMs: 30_000 });
    const controller = new AbortController();
    const bytes = guest({ hook: `${LOOP} $answer` });
    const aborted = register('loops', bytes, { signal: controller.signal });
    await new Promise((resolve) => setTimeout(resolve, 100));
    controller.abort(reason);
    expect(await rejected(Error, aborted)).toBe(reason);
    // Its thread is free long before the deadline.
    const began = performance.now();
    await runtime[Symbol.asyncDispose]();
    expect(performance.now() - began).toBeLessThan(10_000);
  });

  it('is one whose signal aborts later than it ends: nothing', async () => {
    const controller = new AbortController();
    const slot = await register('n', quick, { signal: controller.signal });
    controller.abort(reason);
    expect(runtime.getSlot(key)).toBe(slot);
  });
});
