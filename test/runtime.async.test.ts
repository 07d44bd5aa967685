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
/** A plugin that compiles slowly, and one that compiles quickly. */
const slow = plugin('report-0-1-2');
const quick = guest();
const another = (n: number) => append(quick, customSection('n', Uint8Array.of(n)));

let runtime: WasmtimeRuntime;
beforeEach(() => {
  // An isolated engine has an empty cache of compiled modules.
  runtime = isolatedRuntime();
});
const register = (name: string, bytes: Uint8Array, options?: Parameters<WasmtimeRuntime['registerFilterAsync']>[3]) =>
  runtime.registerFilterAsync(key, name, bytes, options);
/** Returns the version of the slot at the time when the promise resolves. */
const applied = async (promise: Promise<PluginSlot>) => {
  const { current } = await promise;
  return `${current.versionId} ${current.pluginName}`;
};

describe('registerFilterAsync', () => {
  it('creates the same slot as registerFilter', async () => {
    const slot = await register('n', plugin('cache-aware'), { deadlineMs: 77, failurePolicy: 'fail-closed' });
    const other = isolatedRuntime();
    const options = { deadlineMs: 77, failurePolicy: 'fail-closed' } as const;
    expect(slot.current).toEqual(other.registerFilter(key, 'n', plugin('cache-aware'), options).current);
    expect(runtime.getSlot(key)).toBe(slot);
    expect(
      new WasmtimeFilterPlugin(runtime, slot).filter(request(), caller(), candidates(2)).keptUpstreamIds,
    ).toHaveLength(1);
  });

  it('does not block the event loop while it compiles', async () => {
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    await register('slow', slow);
    clearInterval(timer);
    expect(turns).toBeGreaterThan(3);
  });

  it('copies the bytes when it is called', async () => {
    const bytes = Buffer.from(quick);
    const promise = register('n', bytes);
    bytes.fill(0);
    expect((await promise).current.contentHash).toBe(
      isolatedRuntime().registerFilter(key, 'n', quick).current.contentHash,
    );
  });

  it('keeps the version for equal content and options, and creates one for other options', async () => {
    const slot = await register('first', quick);
    const { current } = slot;
    expect(await register('second', quick)).toBe(slot);
    expect(slot.current).toBe(current);
    expect(await applied(register('third', quick, { deadlineMs: 5 }))).toBe('2 third');
    expect(runtime.stats().engine.cacheMisses).toBe(1);
  });

  it.each([
    ['bytes that are not a module', Buffer.from('no module'), ModuleRejectedError],
    ['a plugin of another hook', guest({ hooks: ['shape'] }), ModuleRejectedError],
    ['a plugin that fails its probe', guest({ hook: 'unreachable' }), ProbeFailedError],
  ])('rejects %s and keeps the version of the slot', async (_, bytes, type) => {
    const slot = await register('n', quick);
    await rejected(type, register('bad', bytes));
    expect(slot.current.versionId).toBe(1);
    expect(await applied(register('good', another(1)))).toBe('2 good');
  });

  it('rejects a kind that differs from the kind of the slot', async () => {
    await register('n', slow);
    const error = await rejected(ModuleRejectedError, runtime.registerShapeAsync(key, 'n', slow));
    expect(error.reason).toBe('slot "alice"/"k" has kind filter, expected shape');
  });
});

describe('concurrent registrations of one key', () => {
  it('apply in the order of their calls, in whatever order they are admitted', async () => {
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

  it('do not wait for registrations of other keys', async () => {
    const order: string[] = [];
    const elsewhere = runtime.registerFilterAsync(SlotKey.global('other'), 'quick', quick);
    const here = register('slow', slow);
    elsewhere.then(() => order.push('elsewhere'));
    here.then(() => order.push('here'));
    await Promise.all([here, elsewhere]);
    expect(order).toEqual(['elsewhere', 'here']);
  });

  it('apply after an earlier one is rejected', async () => {
    const refused = rejected(ProbeFailedError, register('bad', guest({ hook: 'unreachable' })));
    expect(await applied(register('good', quick))).toBe('1 good');
    await refused;
  });

  it('reject as evicted when the key is evicted first, and later ones apply', async () => {
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

  it('reject as evicted when retainSlots evicts the key first', async () => {
    await register('first', quick);
    const overtaken = register('second', slow);
    expect(runtime.retainSlots([])).toEqual([key]);
    expect(await rejected(SlotNotFoundError, overtaken)).toMatchObject({
      code: 'CC_LB_SLOT_EVICTED',
      plugin: 'second',
    });
    expect(runtime.getSlot(key)).toBeUndefined();
  });

  it('reject as evicted when retainSlots evicts a key without a slot first', async () => {
    const overtaken = register('first', slow);
    expect(runtime.retainSlots([])).toEqual([]);
    expect(await rejected(SlotNotFoundError, overtaken)).toMatchObject({ code: 'CC_LB_SLOT_EVICTED', plugin: 'first' });
    expect(runtime.slotCount).toBe(0);
  });

  it('apply when retainSlots keeps their key', async () => {
    await register('first', quick);
    const pending = register('second', slow);
    runtime.retainSlots([key]);
    expect(await applied(pending)).toBe('2 second');
  });

  it('resolve with the current slot when a synchronous registration applies first', async () => {
    await register('first', quick);
    const overtaken = [register('slow', slow), register('quick', another(1))];
    const slot = runtime.registerFilter(key, 'now', another(2));
    expect(slot.current.versionId).toBe(2);
    const later = register('later', another(3));
    expect(await Promise.all(overtaken)).toEqual([slot, slot]);
    expect(await applied(later)).toBe('3 later');
  });

  it('do not replace the version of a synchronous registration that applied first, whether it changed or created the slot', async () => {
    for (const first of [true, false]) {
      runtime = isolatedRuntime();
      if (first) runtime.registerFilter(key, 'first', quick);
      const overtaken = register('slow', slow);
      const slot = runtime.registerFilter(key, 'now', quick);
      expect(await overtaken).toBe(slot);
      expect(slot.current).toMatchObject({ versionId: 1, pluginName: first ? 'first' : 'now' });
    }
  });

  it('apply when a later synchronous registration is rejected', async () => {
    const pending = register('slow', slow);
    expect(() => runtime.registerFilter(key, 'bad', Buffer.from('bad'))).toThrow(ModuleRejectedError);
    expect(await applied(pending)).toBe('1 slow');
  });

  it('reject when a slot of another kind is registered first', async () => {
    const overtaken = register('slow', slow);
    runtime.registerShape(key, 'shape', plugin('echo'));
    await rejected(ModuleRejectedError, overtaken);
    expect(runtime.getSlot(key)).toMatchObject({ kind: 'shape', current: { versionId: 1 } });
  });

  it('reject with ClosedError when the runtime is closed first', async () => {
    runtime.registerFilter(key, 'first', quick);
    const pending = [register('slow', slow), register('quick', another(1))];
    runtime.close();
    for (const promise of pending) await rejected(ClosedError, promise);
  });

  it('reject as evicted when the key is evicted and registered synchronously first', async () => {
    const overtaken = register('slow', slow);
    runtime.evictSlot(key);
    const slot = runtime.registerFilter(key, 'now', quick);
    expect(await rejected(SlotNotFoundError, overtaken)).toMatchObject({ code: 'CC_LB_SLOT_EVICTED' });
    expect(slot.current.versionId).toBe(1);
  });
});

describe('a registration with a signal', () => {
  const reason = new Error('enough');

  it('does not start when the signal is already aborted', async () => {
    expect(await rejected(Error, register('n', quick, { signal: AbortSignal.abort(reason) }))).toBe(reason);
    expect(runtime.stats().engine.cacheMisses).toBe(0);
  });

  it('rejects immediately on abort, changes nothing and does not delay later registrations', async () => {
    const slot = await register('first', quick);
    const controller = new AbortController();
    const aborted = register('slow', slow, { signal: controller.signal });
    const later = register('later', another(1));
    controller.abort(reason);
    expect(await rejected(Error, aborted)).toBe(reason);
    expect(slot.current.versionId).toBe(1);
    expect(await applied(later)).toBe('2 later');
  });

  it('rejects on abort while it waits for an earlier registration', async () => {
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

  it('interrupts its probe on abort', async () => {
    runtime = newRuntime({ deadlineMs: 30_000 });
    const controller = new AbortController();
    const bytes = guest({ hook: `${LOOP} $answer` });
    const aborted = register('loops', bytes, { signal: controller.signal });
    await new Promise((resolve) => setTimeout(resolve, 100));
    controller.abort(reason);
    expect(await rejected(Error, aborted)).toBe(reason);
    // Succeeds only if the thread is free long before the deadline.
    const began = performance.now();
    await runtime[Symbol.asyncDispose]();
    expect(performance.now() - began).toBeLessThan(10_000);
  });

  it('is not affected by an abort after it ends', async () => {
    const controller = new AbortController();
    const slot = await register('n', quick, { signal: controller.signal });
    controller.abort(reason);
    expect(runtime.getSlot(key)).toBe(slot);
  });
});
