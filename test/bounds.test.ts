/** A guest can access every byte of its memory and none after it, also when later pages are mapped for its growth. */
import { describe, expect, it } from 'vitest';
import { type FilterError, type HotEngineConfigInput, SlotKey, WasmtimeFilterPlugin } from '../src/index.ts';
import { guest, LONGER_THAN_PROBES } from './support/guest.ts';
import { isolatedRuntime } from './support/runtimes.ts';
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
/** Limits in pages of memories that start with 131,072 bytes. */
const MEMORIES = ['2', '2 64'];

/** Accesses whose last byte is byte 131,072, the first one after the memory. */
const FIRST_AFTER = {
  'a byte': '(drop (i32.load8_u (i32.const 131072)))',
  'the end of a word': '(drop (i32.load (i32.const 131069)))',
  'the end of a stored long word': '(i64.store (i32.const 131065) (i64.const -1))',
  'with an offset of a page': '(drop (i64.load offset=65536 (i32.const 65529)))',
  'an offset alone': '(drop (i32.load8_u offset=131072 (i32.const 0)))',
  'an address computed at run time':
    '(drop (i32.load8_u (i32.add (local.get 1) (i32.sub (i32.const 131072) (local.get 1)))))',
  filled: '(memory.fill (i32.const 131070) (i32.const 255) (i32.const 3))',
  'copied from': '(memory.copy (i32.const 0) (i32.const 131070) (i32.const 3))',
};
/** Accesses further after the memory, within the range to which earlier calls grew it. */
const FURTHER_AFTER = {
  'the next page': '(drop (i64.load (i32.const 135168)))',
  'a store to the next page': '(i64.store (i32.const 135168) (i64.const -1))',
  'the last word that growth reaches': '(drop (i64.load (i32.const 655352)))',
  'the middle of the address space': '(drop (i32.load8_u (i32.const 0x7fffffff)))',
  'the largest offset': '(drop (i32.load8_u offset=4294967295 (i32.const 4294967295)))',
};
const LAST_INSIDE = `
  (drop (i32.load8_u (i32.const 131071))) (drop (i64.load (i32.const 131064)))
  (i32.store offset=131068 (i32.const 0) (i32.const -1)) (memory.fill (i32.const 131000) (i32.const 1) (i32.const 72))`;

/** Ordinary calls grow the memory to 655,360 bytes, check that it is zero and write to it; large calls run `access`. */
const hook = (access: string) => `
  (local $at i32)
  (if (i32.ge_u (local.get 1) (i32.const ${2 * LONGER_THAN_PROBES})) (then ${access})
    (else (if (i32.ge_u (local.get 1) (i32.const ${LONGER_THAN_PROBES})) (then
      (if (i32.ne (memory.grow (i32.const 8)) (i32.const 2)) (then unreachable))
      (local.set $at (i32.const 131072))
      (loop $next
        (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then unreachable))
        (i64.store (local.get $at) (i64.const -1))
        (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4096))) (i32.const 655360))))))))
  $answer`;

describe.each(ENGINES)('bounds of guest memory, engine $engine', ({ config }) => {
  it.each(MEMORIES)('trap at the first byte after %s pages of memory', async (memory) => {
    const runtime = isolatedRuntime({ ...config, memoryMaxPages: 1024, deadlineMs: 5_000 });
    const slots = { ...FIRST_AFTER, ...FURTHER_AFTER, inside: LAST_INSIDE };
    const plugins = Object.entries(slots).map(([name, access]) => {
      const bytes = guest({ memory, hook: hook(access) });
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
      // Enough rounds for the working set to be known, whose pages then stay resident.
      for (let round = 0; round < 12; round++) expect(call(plugin, LONGER_THAN_PROBES)).toBe('answers');
      for (let round = 0; round < 6; round++) {
        const expected = name === 'inside' ? 'answers' : 'memory-out-of-bounds';
        expect(call(plugin, 2 * LONGER_THAN_PROBES), name).toBe(expected);
        expect(call(plugin, LONGER_THAN_PROBES), name).toBe('answers');
      }
    }
  });
});
