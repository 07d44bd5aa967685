/** Reentrancy: code of the caller that runs during a call and calls the runtime. */
import { describe, expect, it, vi } from 'vitest';
import {
  type MetricsSink,
  SlotKey,
  WasmtimeFilterPlugin,
  WasmtimeObservabilityHook,
  WasmtimeRuntime,
  WasmtimeUpstreamDialect,
} from '../src/index.ts';
import { guest } from './support/guest.ts';
import { plugin } from './support/plugins.ts';
import { isolatedRuntime, newRuntime } from './support/runtimes.ts';
import { caller, candidates, request, started, upstream, upstreamId } from './support/samples.ts';

const key = SlotKey.global('k');
const text = (body: Uint8Array) => Buffer.from(body).toString();

function adapters(runtime: WasmtimeRuntime) {
  return {
    filter: new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key, 'f', plugin('cache-aware'))),
    echo: new WasmtimeUpstreamDialect(runtime, runtime.registerShape(SlotKey.global('s'), 's', plugin('echo'))),
    observe: new WasmtimeObservabilityHook(
      runtime,
      runtime.registerObserve(SlotKey.global('o'), 'o', plugin('lifecycle')),
    ),
  };
}

describe('a nested call', () => {
  it('does not affect the outer call if a header iterator makes it', () => {
    const { echo } = adapters(newRuntime());
    const nested = (depth: number): string => {
      const answers: string[] = [];
      const headers = {
        *[Symbol.iterator](): Iterator<[string, string]> {
          yield ['x-depth', String(depth)];
          if (depth < 12) answers.push(nested(depth + 1));
          yield ['x-behind', String(depth)];
        },
      };
      const body = Buffer.from(`body ${depth}`);
      const shaped = echo.shape(request({ headers, body, requestId: `r${depth}` }), upstream, caller());
      expect(text(shaped.body)).toBe(`body ${depth}`);
      expect(shaped.headers).toEqual([
        ['x-depth', String(depth)],
        ['x-behind', String(depth)],
      ]);
      return `${depth} ${answers}`;
    };
    expect(nested(0)).toMatch(/^0 1 2 3/);
  });

  it.each([10, 100_000])('does not affect the outer call if a getter makes it during encoding (%d bytes)', (size) => {
    const { filter, echo } = adapters(newRuntime());
    const inner: string[] = [];
    const list = candidates(3).map((candidate) => ({
      ...candidate,
      get name() {
        inner.push(text(echo.shape(request({ body: Buffer.alloc(size, 'x') }), upstream, caller()).body));
        return 'n'.repeat(size);
      },
    }));
    const outer = filter.filter(request({ body: Buffer.alloc(size, 'y') }), caller(), list);
    expect(outer.keptUpstreamIds).toEqual([upstreamId(3)]);
    expect(inner.length).toBeGreaterThanOrEqual(3);
    expect(new Set(inner)).toEqual(new Set(['x'.repeat(size)]));
  });

  it('does not affect the outer call if a getter of claims makes it', () => {
    const { filter } = adapters(newRuntime());
    const claims = {
      get keep() {
        filter.filter(request(), caller({ keep: 3 }), candidates(3));
        return 2;
      },
    };
    expect(filter.filter(request(), caller(claims), candidates(5)).keptUpstreamIds).toEqual([
      upstreamId(4),
      upstreamId(5),
    ]);
  });

  it('may swap, evict and close during the outer call', () => {
    const runtime = newRuntime();
    const { filter } = adapters(runtime);
    const reshaping = (act: () => void): [string, string][] => {
      const headers: [string, string][] = [];
      Object.defineProperty(headers, Symbol.iterator, {
        *value() {
          act();
          yield ['a', 'b'];
        },
      });
      return headers;
    };
    const kept = (act: () => void) => filter.filter(request({ headers: reshaping(act) }), caller(), candidates(2));
    expect(kept(() => runtime.registerFilter(key, 'f', plugin('cache-aware-v2'))).keptUpstreamIds).toHaveLength(1);
    expect(kept(() => runtime.evictSlot(key)).keptUpstreamIds).toHaveLength(1);
    // The runtime is closed before the guest is entered.
    expect(() => kept(() => runtime.close())).toThrow(/closed/);
  });

  it('releases every permit and instance if it throws', () => {
    const runtime = isolatedRuntime({ poolTotalCoreInstances: 1 });
    const { filter } = adapters(runtime);
    const mine = new Error('mine');
    const throwing = {
      ...candidates(1)[0]!,
      get kind(): string {
        throw mine;
      },
    };
    for (let round = 0; round < 20; round++) {
      expect(() => filter.filter(request(), caller(), [throwing])).toThrow(mine);
      expect(filter.filter(request(), caller(), candidates(1)).keptUpstreamIds).toHaveLength(1);
    }
    expect(runtime.stats().engine.running).toBe(0);
  });
});

describe('a metrics sink', () => {
  const silent: MetricsSink = { call() {}, trap() {}, saturation() {}, gauge() {} };

  it('may call the runtime when only one guest may run at a time', async () => {
    let depth = 0;
    let nested = 0;
    const sink: MetricsSink = {
      ...silent,
      call() {
        if (adaptersOf === undefined || depth > 0) return;
        depth++;
        nested++;
        expect(text(adaptersOf.echo.shape(request({ body: Buffer.from('inner') }), upstream, caller()).body)).toBe(
          'inner',
        );
        expect(adaptersOf.observe.observe(started())).toBeUndefined();
        depth--;
      },
    };
    let adaptersOf: ReturnType<typeof adapters> | undefined;
    adaptersOf = adapters(isolatedRuntime({ poolTotalCoreInstances: 1 }, { metrics: sink }));
    const { filter, echo } = adaptersOf;
    const shaped = echo.shape(request({ body: Buffer.from('outer') }), upstream, caller());
    expect(text(shaped.body)).toBe('outer');
    expect(filter.filter(request(), caller(), candidates(2)).keptUpstreamIds).toEqual([upstreamId(2)]);
    await filter.filterAsync(request(), caller(), candidates(2), { where: 'thread' });
    expect(nested).toBe(3);
  });

  it('may register, evict and close', () => {
    const acts: (() => void)[] = [];
    const sink: MetricsSink = { ...silent, call: () => acts.shift()?.() };
    const runtime = newRuntime({}, { metrics: sink });
    const { filter } = adapters(runtime);
    const kept = () => filter.filter(request(), caller(), candidates(2)).keptUpstreamIds;
    acts.push(() => runtime.registerFilter(SlotKey.global('more'), 'n', guest()));
    expect(kept()).toHaveLength(1);
    expect(runtime.slotCount).toBe(4);
    acts.push(() => runtime.evictSlot(key));
    expect(kept()).toHaveLength(1);
    acts.push(() => runtime.close());
    expect(kept()).toHaveLength(1);
    expect(kept).toThrow(/closed/);
  });

  it('causes a warning and fails no call if it throws', async () => {
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
    try {
      const fail = () => {
        throw new Error('sink');
      };
      const sink: MetricsSink = { call: fail, trap: fail, saturation: fail, gauge: fail };
      const runtime = newRuntime({}, { metrics: sink });
      const { filter } = adapters(runtime);
      expect(filter.filter(request(), caller(), candidates(2)).keptUpstreamIds).toHaveLength(1);
      await filter.filterAsync(request(), caller(), candidates(2), { where: 'thread' });
      expect(() => runtime.publishPoolMetrics()).not.toThrow();
      expect(warned).toHaveBeenCalled();
    } finally {
      warned.mockRestore();
    }
  });

  it('receives a call after its answer is read and its permits are released', () => {
    let runtime: WasmtimeRuntime | undefined;
    const running: number[] = [];
    const sink: MetricsSink = { ...silent, call: () => void running.push(runtime?.stats().engine.running ?? 0) };
    runtime = new WasmtimeRuntime({}, { metrics: sink, engineGroup: `sink-${process.pid}` });
    const { filter } = adapters(runtime);
    running.length = 0;
    filter.filter(request(), caller(), []);
    expect(running).toEqual([0]);
    runtime.close();
  });
});
