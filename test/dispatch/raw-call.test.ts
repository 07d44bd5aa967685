import { describe, expect, it } from 'vitest';
import {
  ClosedError,
  GuestTrapError,
  InvalidArgumentError,
  ModuleRejectedError,
  SlotKey,
  SlotNotFoundError,
  WasmtimeFilterPlugin,
} from '../../src/index.ts';
import { filterRequestBase, filterResponse } from '../../src/wire/messages/filter.ts';
import { observeEvent } from '../../src/wire/messages/observe.ts';
import { shapeRequest } from '../../src/wire/messages/shape.ts';
import { encodeToBytes } from '../support/encode.ts';
import { thrown } from '../support/errors.ts';
import { plugin } from '../support/plugins.ts';
import { newRuntime, recorder } from '../support/runtimes.ts';

const key = SlotKey.global('k');

describe('a raw call', () => {
  const principal = { id: 'p', kind: 'api_key', claims: [] };
  const http = {
    requestId: 'r',
    method: 'GET',
    path: '/',
    query: null,
    headers: [],
    body: new Uint8Array(300),
    principal,
  };
  const filterBytes = encodeToBytes(filterRequestBase, { ...http, candidates: [] });
  const shapeBytes = encodeToBytes(shapeRequest, { ...http, upstream: { baseUrl: null } });
  const observeBytes = encodeToBytes(observeEvent, {
    type: 'request_started',
    requestId: 'r',
    downstreamUserAgent: null,
  });

  it('returns the encoded answer of each kind', () => {
    const runtime = newRuntime({ wireBounds: { outputBodyBytes: 200 } });
    runtime.registerFilter(SlotKey.global('f'), 'f', plugin('cache-aware'));
    runtime.registerShape(SlotKey.global('s'), 's', plugin('echo'));
    runtime.registerObserve(SlotKey.global('o'), 'o', plugin('lifecycle'));
    expect(runtime.callFilter(SlotKey.global('f'), filterBytes)).toEqual(
      encodeToBytes(filterResponse, { results: [] }),
    );
    const shaped = runtime.callShape(SlotKey.global('s'), shapeBytes);
    expect(shaped.length).toBeGreaterThan(200);
    expect(shaped.constructor).toBe(Uint8Array);
    expect(runtime.callObserve(SlotKey.global('o'), observeBytes)).toEqual(new Uint8Array(0));
    // The caller owns the answer, so that later calls do not change it.
    const before = Uint8Array.from(shaped);
    runtime.callShape(SlotKey.global('s'), shapeBytes);
    expect(shaped).toEqual(before);
  });

  it('calls the version that its adapter is pinned to or follows', () => {
    const runtime = newRuntime();
    const slot = runtime.registerFilter(key, 'old', plugin('cache-aware'));
    const adapters = [new WasmtimeFilterPlugin(runtime, slot), WasmtimeFilterPlugin.follow(runtime, key)];
    runtime.registerFilter(key, 'new', plugin('cache-aware-v2'));
    const noRequest = Buffer.from('no request');
    const errors = adapters.map((adapter) => thrown(GuestTrapError, () => adapter.callRaw(noRequest)));
    expect(errors).toMatchObject([
      { plugin: 'old', versionId: 1 },
      { plugin: 'new', versionId: 2 },
    ]);
    runtime.evictSlot(key);
    expect(adapters[0]!.callRaw(filterBytes)).toEqual(encodeToBytes(filterResponse, { results: [] }));
    expect(() => adapters[1]!.callRaw(filterBytes)).toThrow(SlotNotFoundError);
    const wrong = thrown(InvalidArgumentError, () => Reflect.apply(adapters[0]!.callRaw, adapters[0], ['bytes']));
    expect(wrong.path).toBe('bytes');
    runtime.close();
    expect(() => adapters[0]!.callRaw(filterBytes)).toThrow(ClosedError);
  });

  it('throws the error of the call', () => {
    const runtime = newRuntime();
    runtime.registerFilter(key, 'f', plugin('cache-aware'));
    const error = thrown(GuestTrapError, () => runtime.callFilter(key, Buffer.from('no request')));
    expect(error).toMatchObject({ phase: 'cc_lb_filter', plugin: 'f', principal: '__global__', versionId: 1 });
    expect(() => runtime.callFilter(key, new Uint8Array(0))).toThrow(GuestTrapError);
  });

  it('is rejected and not counted for a missing slot or a slot of another kind', () => {
    const { sink, take } = recorder();
    const runtime = newRuntime({}, { metrics: sink });
    runtime.registerFilter(key, 'f', plugin('report-0-1-0'));
    take();
    const absent = new SlotKey('alice', 'none');
    for (const call of [
      () => runtime.callFilter(absent, filterBytes),
      () => runtime.callShape(absent, shapeBytes),
      () => runtime.callObserve(absent, observeBytes),
    ]) {
      const error = thrown(SlotNotFoundError, call);
      expect(error).toMatchObject({ code: 'CC_LB_SLOT_NOT_FOUND', principal: 'alice', plugin: 'none' });
      expect(error).toBeInstanceOf(ModuleRejectedError);
    }
    for (const call of [() => runtime.callShape(key, shapeBytes), () => runtime.callObserve(key, observeBytes)]) {
      expect(thrown(ModuleRejectedError, call).reason).toMatch(/has kind filter, expected (shape|observe)/);
    }
    expect(take()).toEqual([]);
  });

  it('rejects arguments other than a key and bytes', () => {
    const runtime = newRuntime();
    runtime.registerFilter(key, 'f', plugin('cache-aware'));
    for (const [path, args] of [
      ['key', [undefined, filterBytes]],
      ['key', ['k', filterBytes]],
      ['key', [{ principal: 1, plugin: 'k' }, filterBytes]],
      ['bytes', [key]],
      ['bytes', [key, 'bytes']],
      ['bytes', [key, [1]]],
      ['bytes', [key, new Uint8Array(new SharedArrayBuffer(8))]],
    ] as const) {
      for (const method of [runtime.callFilter, runtime.callShape, runtime.callObserve]) {
        expect(thrown(InvalidArgumentError, () => Reflect.apply(method, runtime, args)).path).toBe(path);
      }
    }
  });
});
