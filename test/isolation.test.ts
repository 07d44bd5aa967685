/** No call sees memory, globals or tables of an earlier call: the guest counts its calls and searches for marks. */
import { describe, expect, it } from 'vitest';
import {
  FilterError,
  type HotEngineConfigInput,
  SlotKey,
  WasmtimeFilterPlugin,
  WasmtimeObservabilityHook,
  WasmtimeUpstreamDialect,
} from '../src/index.ts';
import { guest, LONGER_THAN_PROBES } from './support/guest.ts';
import { plugin } from './support/plugins.ts';
import { isolatedRuntime } from './support/runtimes.ts';
import { caller, candidates, request, started, upstream } from './support/samples.ts';

const FIRST = 'calls=1 canaries=0';
const key = SlotKey.global('canary');
const THREAD = { where: 'thread' } as const;

const pool = { allocationStrategy: 'pooling', poolTotalMemories: 8, poolTotalCoreInstances: 8 } as const;
const ENGINES: readonly { engine: string; config: HotEngineConfigInput }[] = [
  { engine: 'on demand', config: {} },
  { engine: 'on demand, without reuse', config: { residentBudgetBytes: 0 } },
  { engine: 'pooling', config: pool },
  { engine: 'pooling, pages kept resident', config: { ...pool, keepResidentBytes: 1_572_864 } },
];

/** Traps unless the memory between two addresses is zero. */
const check = (from: string, to: string) => `
  (local.set $at ${from})
  (loop $next
    (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then unreachable))
    (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) ${to})))`;
/** Writes marks to the memory, to pages from memory.grow, to a global and to a table. */
const MARK = `
  (memory.fill (i32.const 0) (i32.const 0xa5) (i32.const 1024))
  (memory.fill (i32.const 65536) (i32.const 0xa5) (i32.const 65536))
  (local.set $at (memory.grow (i32.const 8)))
  (if (i32.ne (local.get $at) (i32.const 2)) (then unreachable))
  (if (i64.ne (i64.load (i32.const 131072)) (i64.const 0)) (then unreachable))
  (if (i64.ne (i64.load (i32.const 655352)) (i64.const 0)) (then unreachable))
  (memory.fill (i32.const 131072) (i32.const 0xa5) (i32.const 524288))
  (global.set $used (i32.const 1))
  (table.set (i32.const 0) (ref.func $f))`;

/** Each of these traps unless the instance is fresh. */
const CHECKS = [
  '(if (global.get $used) (then unreachable))',
  '(if (i32.eqz (ref.is_null (table.get (i32.const 0)))) (then unreachable))',
  '(if (i32.ne (memory.size) (i32.const 2)) (then unreachable))',
  check('(i32.const 0)', '(i32.const 1024)'),
  check('(i32.const 98304)', '(i32.const 131072)'),
];
const STATE = '(global $used (mut i32) (i32.const 0)) (table 1 funcref) (elem declare func $f) (func $f)';

it('every check of this file detects its mark', () => {
  const found = (hook: string) => () => isolatedRuntime().registerFilter(key, 'n', guest({ fields: STATE, hook }));
  expect(found(`(local $at i32) ${CHECKS.join('')} ${MARK} $answer`)).not.toThrow();
  for (const part of CHECKS) {
    expect(found(`(local $at i32) ${MARK} ${part} $answer`), part).toThrow(/unreachable/);
  }
});

describe.each(ENGINES)('instances of an engine that is $engine', ({ config }) => {
  const adapters = () => {
    const runtime = isolatedRuntime(config);
    const bytes = plugin('canary');
    return {
      runtime,
      filter: new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key, 'c', bytes)),
      shape: new WasmtimeUpstreamDialect(runtime, runtime.registerShape(SlotKey.global('s'), 'c', bytes)),
      observe: new WasmtimeObservabilityHook(runtime, runtime.registerObserve(SlotKey.global('o'), 'c', bytes)),
    };
  };
  const report = (filter: WasmtimeFilterPlugin) =>
    filter.filter(request(), caller(), []).perCandidateReasons.map(({ text }) => text);

  it('serve one call', () => {
    const { runtime, filter, shape, observe } = adapters();
    for (let round = 0; round < 60; round++) {
      expect(report(filter)).toEqual([FIRST]);
      expect(Buffer.from(shape.shape(request(), upstream, caller()).body).toString()).toBe(FIRST);
      expect(observe.observe(started())).toBeUndefined();
    }
    const reuses = Object.keys(config).length === 0 && process.platform === 'linux';
    expect(runtime.stats().engine.idleMemories > 0).toBe(reuses);
  });

  it('serve one call each when several plugins take turns', () => {
    const { runtime, filter, shape } = adapters();
    const hook = `(local $at i32) ${CHECKS.join('')} ${MARK} $answer`;
    const slot = runtime.registerFilter(new SlotKey('other', 'marks'), 'm', guest({ fields: STATE, hook }));
    const marker = new WasmtimeFilterPlugin(runtime, slot);
    for (let round = 0; round < 60; round++) {
      expect(() => marker.filter(request(), caller(), [])).not.toThrow();
      expect(report(filter)).toEqual([FIRST]);
      expect(Buffer.from(shape.shape(request(), upstream, caller()).body).toString()).toBe(FIRST);
    }
  });

  it('serve one call while other threads call', async () => {
    const { filter } = adapters();
    const calls = Array.from({ length: 40 }, () => filter.filterAsync(request(), caller(), [], THREAD));
    for (let round = 0; round < 20; round++) {
      expect(report(filter)).toEqual([FIRST]);
      await new Promise(setImmediate);
    }
    for (const { perCandidateReasons } of await Promise.all(calls)) {
      expect(perCandidateReasons.map(({ text }) => text)).toEqual([FIRST]);
    }
  });

  it('have fresh memory after calls that trapped, expired or grew their memory', () => {
    const runtime = isolatedRuntime({ ...config, memoryMaxPages: 64 });
    const hook = `
      (local $at i32)
      ${CHECKS.join('')} ${MARK}
      (if (i32.ge_u (local.get 1) (i32.const ${LONGER_THAN_PROBES * 2})) (then (loop $l br $l)))
      (if (i32.ge_u (local.get 1) (i32.const ${LONGER_THAN_PROBES})) (then (drop (i32.div_u (i32.const 1) (i32.const 0)))))
      $answer`;
    const filter = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key, 'n', guest({ fields: STATE, hook })));
    const trapOf = (bytes: number, deadlineMs = 60_000) => {
      try {
        filter.filter(request({ body: Buffer.alloc(bytes) }), caller(), [], { deadlineMs });
      } catch (error) {
        return ((error as FilterError).cause as { trap?: string }).trap;
      }
      return undefined;
    };
    for (let round = 0; round < 12; round++) {
      expect(trapOf(10)).toBeUndefined();
      expect(trapOf(LONGER_THAN_PROBES)).toBe('integer-division-by-zero');
      if (round % 4 === 0) expect(trapOf(LONGER_THAN_PROBES * 2, 15)).toBe('interrupt');
    }
  });

  it('have their small or large initial data, unchanged by earlier calls', () => {
    const runtime = isolatedRuntime(config);
    const pattern = (bytes: number) => '0123456789abcdef'.repeat(bytes / 16);
    for (const bytes of [1_024, 262_144, 2_097_152]) {
      const last = 65_536 + bytes - 8;
      const fields = `(data (i32.const 65536) "${pattern(bytes)}")`;
      const hook = `
        (if (i64.ne (i64.load (i32.const 65536)) (i64.const 0x3736353433323130)) (then unreachable))
        (if (i64.ne (i64.load (i32.const ${last})) (i64.const 0x6665646362613938)) (then unreachable))
        (if (i64.ne (i64.load (i32.const ${last + 8})) (i64.const 0)) (then unreachable))
        (memory.fill (i32.const 65536) (i32.const 0xa5) (i32.const ${bytes + 8}))
        $answer`;
      const slot = runtime.registerFilter(SlotKey.global(`data-${bytes}`), 'd', guest({ memory: '64', fields, hook }));
      const filter = new WasmtimeFilterPlugin(runtime, slot);
      for (let round = 0; round < 40; round++) {
        expect(() => filter.filter(request(), caller(), [])).not.toThrow();
      }
    }
  });

  it('see no memory of other plugins', () => {
    const { runtime, filter } = adapters();
    const other = runtime.registerFilter(SlotKey.global('other'), 'm', plugin('misbehave'));
    const misbehave = new WasmtimeFilterPlugin(runtime, other);
    for (let round = 0; round < 4; round++) {
      misbehave.filter(request(), caller({ do: 'grow:40' }), candidates(1));
      expect(() => misbehave.filter(request(), caller({ do: 'allocate' }), [])).toThrow(FilterError);
      expect(report(filter)).toEqual([FIRST]);
    }
  });
});
