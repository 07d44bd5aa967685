/** A guest reaches the last byte of its memory and none behind it, also where pages behind it wait for its growth. */
import { describe, expect, it } from 'vitest';
import { type FilterError, type HotEngineConfigInput, SlotKey, WasmtimeFilterPlugin } from '../src/index.ts';
import { guest, LONGER_THAN_PROBES } from './support/guest.ts';
import { lonelyRuntime } from './support/runtimes.ts';
import { caller, request } from './support/samples.ts';

const pool = { allocationStrategy: 'pooling', poolTotalMemories: 8, poolTotalCoreInstances: 8 } as const;
const MIB = 1024 * 1024;
const ENGINES: readonly { engine: string; config: HotEngineConfigInput }[] = [
  { engine: 'on demand', config: {} },
  { engine: 'pooling', config: pool },
  { engine: 'pooling without a guard', config: { ...pool, memoryGuardBytes: 0 } },
  { engine: 'pooling, pages kept resident', config: { ...pool, keepResidentBytes: 1.5 * MIB } },
  { engine: 'on demand, memories that may move', config: { memoryReservationBytes: MIB, memoryGuardBytes: MIB } },
  { engine: 'on demand, bounds by reservation', config: { memoryReservationBytes: 4096 * MIB } },
];
/** Limits in pages of a memory that begins with 131,072 bytes. */
const MEMORIES = ['2', '2 64'];

/** Accesses of which the last byte is byte 131,072, the first one behind the memory. */
const FIRST_BEHIND = {
  'a byte': '(drop (i32.load8_u (i32.const 131072)))',
  'a part of a word': '(drop (i32.load (i32.const 131069)))',
  'a part of a long word, stored': '(i64.store (i32.const 131065) (i64.const -1))',
  'with an offset of a page': '(drop (i64.load offset=65536 (i32.const 65529)))',
  'all of it an offset': '(drop (i32.load8_u offset=131072 (i32.const 0)))',
  'found out at run time': '(drop (i32.load8_u (i32.add (local.get 1) (i32.sub (i32.const 131072) (local.get 1)))))',
  filled: '(memory.fill (i32.const 131070) (i32.const 255) (i32.const 3))',
  'copied from': '(memory.copy (i32.const 0) (i32.const 131070) (i32.const 3))',
};
/** Accesses further behind, where a usual call has grown its memory to. */
const FURTHER_BEHIND = {
  'on the next page': '(drop (i64.load (i32.const 135168)))',
  'stored on the next page': '(i64.store (i32.const 135168) (i64.const -1))',
  'in the last word that growth reaches': '(drop (i64.load (i32.const 655352)))',
  'past everything': '(drop (i32.load8_u (i32.const 0x7fffffff)))',
  'with the largest offset': '(drop (i32.load8_u offset=4294967295 (i32.const 4294967295)))',
};
const LAST_INSIDE = `
  (drop (i32.load8_u (i32.const 131071))) (drop (i64.load (i32.const 131064)))
  (i32.store offset=131068 (i32.const 0) (i32.const -1)) (memory.fill (i32.const 131000) (i32.const 1) (i32.const 72))`;

/** Usual calls grow the memory to 655,360 bytes, find zeroes there and write to them; large ones do the deed. */
const hook = (deed: string) => `
  (local $at i32)
  (if (i32.ge_u (local.get 1) (i32.const ${2 * LONGER_THAN_PROBES})) (then ${deed})
    (else (if (i32.ge_u (local.get 1) (i32.const ${LONGER_THAN_PROBES})) (then
      (if (i32.ne (memory.grow (i32.const 8)) (i32.const 2)) (then unreachable))
      (local.set $at (i32.const 131072))
      (loop $next
        (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then unreachable))
        (i64.store (local.get $at) (i64.const -1))
        (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4096))) (i32.const 655360))))))))
  $answer`;

describe.each(ENGINES)('a guest of an engine that is $engine', ({ config }) => {
  it.each(MEMORIES)('with %s pages of memory traps at the first byte behind it', async (memory) => {
    const runtime = lonelyRuntime({ ...config, memoryMaxPages: 1024, deadlineMs: 5_000 });
    const slots = { ...FIRST_BEHIND, ...FURTHER_BEHIND, inside: LAST_INSIDE };
    const plugins = Object.entries(slots).map(([name, deed]) => {
      const bytes = guest({ memory, hook: hook(deed) });
      return {
        name,
        plugin: new WasmtimeFilterPlugin(runtime, runtime.registerFilter(SlotKey.global(name), 'b', bytes)),
      };
    });
    const call = (plugin: WasmtimeFilterPlugin, bytes: number) => {
      try {
        plugin.filter(request({ body: Buffer.alloc(bytes) }), caller(), []);
        return 'answers';
      } catch (error) {
        return ((error as FilterError).cause as { trap?: string }).trap;
      }
    };
    for (const { name, plugin } of plugins) {
      // Enough for what usual calls touch to be known, and instances with those pages to be ready.
      for (let round = 0; round < 12; round++) expect(call(plugin, LONGER_THAN_PROBES)).toBe('answers');
      await expect.poll(() => runtime.stats().engine.prepared).toBeGreaterThan(0);
      for (let round = 0; round < 6; round++) {
        const expected = name === 'inside' ? 'answers' : 'memory-out-of-bounds';
        expect(call(plugin, 2 * LONGER_THAN_PROBES), name).toBe(expected);
        expect(call(plugin, LONGER_THAN_PROBES), name).toBe('answers');
      }
    }
  });
});
