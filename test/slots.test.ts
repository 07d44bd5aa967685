import { beforeEach, describe, expect, it } from 'vitest';
import {
  ClosedError,
  FilterError,
  GLOBAL_PRINCIPAL,
  InvalidArgumentError,
  ModuleRejectedError,
  ProbeFailedError,
  SlotKey,
  SlotNotFoundError,
  WasmtimeFilterPlugin,
  WasmtimeObservabilityHook,
  type WasmtimeRuntime,
  WasmtimeUpstreamDialect,
} from '../src/index.ts';
import { KeyMap } from '../src/slot-key.ts';
import type { Slot } from '../src/slots.ts';
import { thrown } from './support/errors.ts';
import { guest, metadataSection } from './support/guest.ts';
import { plugin } from './support/plugins.ts';
import { isolatedRuntime, newRuntime } from './support/runtimes.ts';
import { caller, candidates, request, upstream } from './support/samples.ts';

const key = SlotKey.global('k');

describe('SlotKey', () => {
  it('is frozen and has principal and plugin', () => {
    const one = new SlotKey('alice', 'cache');
    expect({ ...one }).toEqual({ principal: 'alice', plugin: 'cache' });
    expect(Object.isFrozen(one)).toBe(true);
    expect(String(one)).toBe('"alice"/"cache"');
  });

  it('has the principal __global__ when made by global()', () => {
    expect(SlotKey.global('cache')).toEqual(new SlotKey('__global__', 'cache'));
  });

  it('rejects arguments that are not two strings', () => {
    expect(thrown(InvalidArgumentError, () => Reflect.construct(SlotKey, [1, 'p'])).path).toBe('key.principal');
    expect(thrown(InvalidArgumentError, () => Reflect.construct(SlotKey, ['p'])).path).toBe('key.plugin');
    expect(() => Reflect.apply(SlotKey.global, SlotKey, [])).toThrow(InvalidArgumentError);
  });
});

it('GLOBAL_PRINCIPAL is the principal of slots that serve every caller', () => {
  expect(SlotKey.global('p')).toEqual(new SlotKey(GLOBAL_PRINCIPAL, 'p'));
});

describe('KeyMap', () => {
  it('compares keys by both strings separately', () => {
    const map = new KeyMap<number>();
    map.set(new SlotKey('a:b', 'c'), 1);
    map.set(new SlotKey('a', 'b:c'), 2);
    map.set(new SlotKey('a', 'c'), 3);
    map.set(new SlotKey('__proto__', 'constructor'), 4);
    expect(map.get(new SlotKey('a:b', 'c'))).toBe(1);
    expect(map.get(new SlotKey('a', 'b:c'))).toBe(2);
    expect(map.get(new SlotKey('__proto__', 'constructor'))).toBe(4);
    expect(map.get(new SlotKey('constructor', 'c'))).toBeUndefined();
    expect(map.size).toBe(4);
    expect(map.delete(new SlotKey('a', 'c'))).toBe(true);
    expect(map.delete(new SlotKey('a', 'c'))).toBe(false);
    expect([...map.entries()].map(([key, value]) => [key.principal, key.plugin, value])).toEqual([
      ['a:b', 'c', 1],
      ['a', 'b:c', 2],
      ['__proto__', 'constructor', 4],
    ]);
  });
});

describe('PluginSlot', () => {
  let runtime: WasmtimeRuntime;
  beforeEach(() => {
    runtime = newRuntime();
  });
  const register = (name: string, options?: Parameters<WasmtimeRuntime['registerFilter']>[3]) =>
    runtime.registerFilter(key, name, plugin(name), options);

  it('has key, kind and version 1 after registration', () => {
    const slot = register('cache-aware');
    expect(slot.key).toEqual(key);
    expect(slot.kind).toBe('filter');
    expect(slot.current).toMatchObject({
      versionId: 1,
      pluginName: 'cache-aware',
      failurePolicy: 'pass-through',
      deadlineMs: 5000,
      metadata: { name: 'cache-aware', version: '1.0.0' },
    });
    expect(slot.current.contentHash).toMatch(/^[0-9a-f]{64}$/);
    expect(Object.keys(slot.current.metadata.hooks)).toEqual(['filter']);
    expect(runtime.getSlot(key)).toBe(slot);
    expect(runtime.getSlot(SlotKey.global('k'))).toBe(slot);
    expect(runtime.slots()).toEqual([slot]);
    expect(runtime.slotCount).toBe(1);
  });

  it('has frozen versions', () => {
    // The second runtime finds the module that the first one admitted.
    for (const runtime of [0, 1].map(() => newRuntime({}, { engineGroup: 'frozen' }))) {
      const { current } = runtime.registerFilter(key, 'n', plugin('cache-aware'));
      const { metadata } = current;
      for (const part of [current, metadata, metadata.hooks, metadata.hooks.filter]) {
        expect(Object.isFrozen(part)).toBe(true);
      }
    }
  });

  it('gets the next version when its key is registered again', () => {
    const slot = register('cache-aware');
    const first = slot.current;
    expect(register('cache-aware-v2')).toBe(slot);
    expect(slot.current).toMatchObject({ versionId: 2, pluginName: 'cache-aware-v2' });
    expect(slot.current.contentHash).not.toBe(first.contentHash);
    expect(first.versionId).toBe(1);
    register('cache-aware');
    expect(slot.current).toMatchObject({ versionId: 3, contentHash: first.contentHash });
    expect(runtime.slotCount).toBe(1);
  });

  it('keeps its version when the same bytes are registered under another name', () => {
    const slot = register('cache-aware');
    const first = slot.current;
    expect(runtime.registerFilter(key, 'another name', Buffer.from(plugin('cache-aware')))).toBe(slot);
    expect(slot.current).toBe(first);
    expect(slot.current.pluginName).toBe('cache-aware');
  });

  it('keeps its version when the next one is rejected', () => {
    const slot = register('cache-aware');
    const first = slot.current;
    const adapter = WasmtimeFilterPlugin.follow(runtime, key);
    for (const [bytes, type] of [
      [Buffer.from('no module'), ModuleRejectedError],
      [guest({ hook: 'unreachable' }), ProbeFailedError],
      [guest({ hooks: ['shape'] }), ModuleRejectedError],
      [guest({ metadata: { name: ' ' } }), ModuleRejectedError],
    ] as const) {
      expect(() => runtime.registerFilter(key, 'bad', bytes)).toThrow(type);
      expect(slot.current).toBe(first);
      expect(adapter.filter(request(), caller(), candidates(2)).keptUpstreamIds).toHaveLength(1);
    }
    expect(register('cache-aware-v2').current.versionId).toBe(2);
  });

  it('rejects registrations of another kind', () => {
    const slot = runtime.registerShape(key, 'report', plugin('report-0-1-0'));
    for (const bytes of [plugin('report-0-1-0'), plugin('report-0-1-1')]) {
      const error = thrown(ModuleRejectedError, () => runtime.registerFilter(key, 'report', bytes));
      expect(error.reason).toBe('slot "__global__"/"k" has kind shape, expected filter');
    }
    expect(slot.current.versionId).toBe(1);
    runtime.evictSlot(key);
    expect(runtime.registerFilter(key, 'report', plugin('report-0-1-0'))).toMatchObject({
      kind: 'filter',
      current: { versionId: 1 },
    });
  });

  it('reports a hook that the plugin lacks before the kind of the slot', () => {
    register('cache-aware');
    const error = thrown(ModuleRejectedError, () => runtime.registerShape(key, 'x', plugin('cache-aware-v2')));
    expect(error.reason).toMatch(/hooks\.shape/);
  });

  it('has a content hash of policy version, memory cap and bytes', () => {
    const other = newRuntime({ memoryMaxPages: 1024 });
    const hash = register('cache-aware').current.contentHash;
    expect(newRuntime().registerFilter(key, 'n', plugin('cache-aware')).current.contentHash).toBe(hash);
    expect(other.registerFilter(key, 'n', plugin('cache-aware')).current.contentHash).not.toBe(hash);
  });

  it('is found by any object with both strings, which registration copies', () => {
    const plain = Object.assign(Object.create(null) as object, { principal: 'alice', plugin: 'k' });
    const slot = Reflect.apply(runtime.registerFilter, runtime, [plain, 'a', plugin('cache-aware')]);
    plain.plugin = 'other';
    expect(slot.key).toEqual(new SlotKey('alice', 'k'));
    expect(runtime.getSlot(new SlotKey('alice', 'k'))).toBe(slot);
    expect(() => Reflect.apply(runtime.callFilter, runtime, [plain, new Uint8Array(1)])).toThrow(SlotNotFoundError);
  });

  it('is separate for each principal', () => {
    const alice = runtime.registerFilter(new SlotKey('alice', 'k'), 'a', plugin('cache-aware'));
    const bob = runtime.registerFilter(new SlotKey('bob', 'k'), 'b', plugin('cache-aware'));
    expect(alice).not.toBe(bob);
    expect(bob.current).toMatchObject({ versionId: 1, pluginName: 'b' });
    expect(runtime.slotCount).toBe(2);
  });

  describe('slot options', () => {
    it('are exposed on the version', () => {
      const { current } = register('cache-aware', { failurePolicy: 'fail-closed', deadlineMs: 77 });
      expect(current).toMatchObject({ failurePolicy: 'fail-closed', deadlineMs: 77 });
    });

    it('create a version without compiling or probing the same bytes again when they change', () => {
      runtime = isolatedRuntime();
      const slot = register('cache-aware', { deadlineMs: 77 });
      const first = slot.current;
      const { cacheMisses } = runtime.stats().engine;
      expect(register('cache-aware', { deadlineMs: 77 }).current).toBe(first);
      register('cache-aware', { deadlineMs: 78 });
      expect(slot.current).toMatchObject({ versionId: 2, deadlineMs: 78, contentHash: first.contentHash });
      expect(runtime.stats().engine).toMatchObject({ cacheMisses, cacheEntries: 1 });
    });

    it('default to the options of the runtime when they are omitted, also when registering again', () => {
      runtime = newRuntime({ deadlineMs: 4321, pluginFailurePolicy: 'fail-closed' });
      const slot = register('cache-aware', { deadlineMs: 77 });
      expect(slot.current).toMatchObject({ deadlineMs: 77, failurePolicy: 'fail-closed' });
      register('cache-aware');
      expect(slot.current).toMatchObject({ versionId: 2, deadlineMs: 4321, failurePolicy: 'fail-closed' });
      register('cache-aware', {});
      expect(slot.current.versionId).toBe(2);
    });

    it('create a version with the new name when the plugin is registered under another name', () => {
      const slot = register('cache-aware');
      runtime.registerFilter(key, 'renamed', plugin('cache-aware'), { deadlineMs: 1 });
      expect(slot.current.pluginName).toBe('renamed');
      expect(slot.name).not.toBe('renamed');
    });

    it.each([
      [null, 'options'],
      [{ deadlineMs: 0 }, 'options.deadlineMs'],
      [{ deadlineMs: 2 ** 31 }, 'options.deadlineMs'],
      [{ deadlineMs: '5' }, 'options.deadlineMs'],
      [{ failurePolicy: 'open' }, 'options.failurePolicy'],
      [{ timeout: 5 }, 'options.timeout'],
      [{ signal: new AbortController().signal }, 'options.signal'],
    ])('rejects %o', (options, path) => {
      const call = () => Reflect.apply(runtime.registerFilter, runtime, [key, 'n', plugin('cache-aware'), options]);
      expect(thrown(InvalidArgumentError, call).path).toBe(path);
      expect(runtime.slotCount).toBe(0);
    });
  });
});

describe('evictSlot and retainSlots', () => {
  it('evictSlot returns whether there was a slot', () => {
    const runtime = newRuntime();
    runtime.registerFilter(key, 'n', plugin('cache-aware'));
    expect(runtime.evictSlot(key)).toBe(true);
    expect(runtime.evictSlot(key)).toBe(false);
    expect(runtime.getSlot(key)).toBeUndefined();
    expect(runtime.slotCount).toBe(0);
  });

  it('a slot registered after an eviction starts at version 1', () => {
    const runtime = newRuntime();
    const first = runtime.registerFilter(key, 'n', plugin('cache-aware'));
    runtime.registerFilter(key, 'n', plugin('cache-aware-v2'));
    runtime.evictSlot(key);
    const second = runtime.registerFilter(key, 'n', plugin('cache-aware'));
    expect(second).not.toBe(first);
    expect(second.current.versionId).toBe(1);
  });

  it('retainSlots keeps the given keys and returns the evicted ones', () => {
    const runtime = newRuntime();
    const keys = ['a', 'b', 'c'].map((name) => SlotKey.global(name));
    for (const key of keys) runtime.registerFilter(key, 'n', plugin('cache-aware'));
    const kept = new Set([new SlotKey('__global__', 'b'), SlotKey.global('unknown')]);
    expect(runtime.retainSlots(kept)).toEqual([keys[0], keys[2]]);
    expect(runtime.slots().map(({ key }) => key)).toEqual([keys[1]]);
    expect(runtime.retainSlots([])).toEqual([keys[1]]);
    expect(runtime.retainSlots([])).toEqual([]);
  });

  it('retainSlots evicts nothing when a key is invalid', () => {
    const runtime = newRuntime();
    runtime.registerFilter(key, 'n', plugin('cache-aware'));
    for (const keep of [undefined, null, 5, key, [key, 5], ['k']]) {
      expect(() => Reflect.apply(runtime.retainSlots, runtime, [keep])).toThrow(InvalidArgumentError);
    }
    expect(runtime.slotCount).toBe(1);
  });
});

describe('adapters', () => {
  const keep = (adapter: WasmtimeFilterPlugin) =>
    adapter.filter(request(), caller(), candidates(3)).keptUpstreamIds.length;

  it('are pinned to a version when made from a slot, and use the current version when they follow a key', () => {
    const runtime = newRuntime();
    const slot = runtime.registerFilter(key, 'cache-aware', plugin('cache-aware'));
    const pinned = new WasmtimeFilterPlugin(runtime, slot);
    const following = WasmtimeFilterPlugin.follow(runtime, key);
    expect([keep(pinned), keep(following)]).toEqual([1, 1]);
    runtime.registerFilter(key, 'cache-aware-v2', plugin('cache-aware-v2'));
    expect([keep(pinned), keep(following)]).toEqual([1, 2]);
    expect([pinned.pluginName, following.pluginName]).toEqual(['cache-aware', 'cache-aware-v2']);
    expect(keep(new WasmtimeFilterPlugin(runtime, slot))).toBe(2);
  });

  it('expose the key of their slot and the version of their next call', () => {
    const runtime = newRuntime();
    const following = WasmtimeFilterPlugin.follow(runtime, key);
    expect(following.slotKey).toEqual(key);
    expect(following.versionId).toBeUndefined();
    const slot = runtime.registerFilter(key, 'n', plugin('cache-aware'));
    const pinned = new WasmtimeFilterPlugin(runtime, slot);
    runtime.registerFilter(key, 'n', plugin('cache-aware-v2'));
    expect(pinned.slotKey).toBe(slot.key);
    expect([pinned.versionId, following.versionId]).toEqual([1, 2]);
    runtime.evictSlot(key);
    expect([pinned.versionId, following.versionId]).toEqual([1, undefined]);
  });

  it('work after the eviction of their slot until the runtime is closed', () => {
    const runtime = newRuntime();
    const slot = runtime.registerFilter(key, 'n', plugin('cache-aware'));
    const pinned = new WasmtimeFilterPlugin(runtime, slot);
    runtime.evictSlot(key);
    expect(keep(pinned)).toBe(1);
    runtime.registerFilter(key, 'n', plugin('cache-aware-v2'));
    expect(keep(pinned)).toBe(1);
    runtime.close();
    expect(() => keep(pinned)).toThrow(ClosedError);
  });

  it('cannot be made from an evicted slot', () => {
    const runtime = newRuntime();
    const slot = runtime.registerFilter(new SlotKey('alice', 'k'), 'cache', plugin('cache-aware'));
    runtime.evictSlot(slot.key);
    for (const again of [false, true]) {
      if (again) runtime.registerFilter(slot.key, 'cache', plugin('cache-aware'));
      const error = thrown(SlotNotFoundError, () => new WasmtimeFilterPlugin(runtime, slot));
      expect(error).toMatchObject({ code: 'CC_LB_SLOT_EVICTED', plugin: 'cache', principal: 'alice' });
    }
  });

  it('fail the call as a plugin failure if they follow an absent slot', () => {
    const runtime = newRuntime();
    const adapter = WasmtimeFilterPlugin.follow(runtime, key);
    const error = thrown(FilterError, () => keep(adapter));
    expect(error).toMatchObject({ kind: 'runtime', plugin: 'k', principal: '__global__', hook: 'filter' });
    expect(error.cause).toBeInstanceOf(SlotNotFoundError);
    expect(error.cause).toMatchObject({ code: 'CC_LB_SLOT_NOT_FOUND' });
    runtime.registerFilter(key, 'n', plugin('cache-aware'));
    expect(keep(adapter)).toBe(1);
    runtime.evictSlot(key);
    expect(() => keep(adapter)).toThrow(FilterError);
  });

  it('fail the call if they follow a slot of another kind', () => {
    const runtime = newRuntime();
    const adapter = WasmtimeUpstreamDialect.follow(runtime, key);
    runtime.registerFilter(key, 'n', plugin('report-0-1-0'));
    expect(() => adapter.shape(request(), upstream, caller())).toThrow(/has kind filter, expected shape/);
  });

  it('reject a slot of another kind or of another runtime', () => {
    const runtime = newRuntime();
    const slot = runtime.registerFilter(key, 'n', plugin('report-0-1-0'));
    expect(() => new WasmtimeUpstreamDialect(runtime, slot)).toThrow(ModuleRejectedError);
    expect(() => new WasmtimeObservabilityHook(runtime, slot)).toThrow(ModuleRejectedError);
    expect(thrown(InvalidArgumentError, () => new WasmtimeFilterPlugin(newRuntime(), slot)).path).toBe('slot');
    for (const other of [undefined, null, 5, {}, { ...slot }, key, { key, kind: 'filter', current: slot.current }]) {
      const make = () => Reflect.construct(WasmtimeFilterPlugin, [runtime, other]);
      expect(thrown(InvalidArgumentError, make).path).toBe('slot');
    }
    for (const other of [undefined, null, {}, 'runtime', Object.create(runtime)]) {
      const make = () => Reflect.construct(WasmtimeFilterPlugin, [other, slot]);
      expect(thrown(InvalidArgumentError, make).path).toBe('runtime');
    }
  });

  it('reject a value that is not a key in follow', () => {
    const runtime = newRuntime();
    const slot = runtime.registerFilter(key, 'n', plugin('cache-aware'));
    for (const other of [undefined, null, 'k', {}, slot, Object.create(SlotKey.prototype)]) {
      const make = () => Reflect.apply(WasmtimeFilterPlugin.follow, WasmtimeFilterPlugin, [runtime, other]);
      expect(thrown(InvalidArgumentError, make).path).toBe('key');
    }
  });
});

describe('compiled modules', () => {
  it('are shared by slots of the same bytes, and adapters can call them after every slot is evicted', () => {
    const runtime = isolatedRuntime();
    const bytes = guest({ sections: { 'cc_lb.plugin.v1': metadataSection({ metadata: { version: '9' } }) } });
    const one = runtime.registerFilter(SlotKey.global('one'), 'n', bytes) as Slot;
    const two = runtime.registerFilter(SlotKey.global('two'), 'n', bytes) as Slot;
    expect(runtime.stats().engine.cacheEntries).toBe(1);
    const adapter = new WasmtimeFilterPlugin(runtime, two);
    runtime.evictSlot(one.key);
    runtime.evictSlot(one.key);
    for (let call = 0; call < 5; call++) adapter.filter(request(), caller(), []);
    runtime.evictSlot(two.key);
    expect(runtime.stats()).toMatchObject({ slots: 0, inFlight: 0, queued: 0 });
    adapter.filter(request(), caller(), []);
  });
});
