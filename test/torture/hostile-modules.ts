/** Modules made to exhaust the parser, the compiler or the instantiation. */
import { guest, guestSections, guestText, metadataSection } from '../support/guest.ts';
import { append, assemble, customSection, leb, prepend, section } from '../support/wat.ts';
import type { Random } from '../wire/fuzz/random.ts';

const HEADER = Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
const bytes = (...parts: (Uint8Array | readonly number[])[]) =>
  Buffer.concat(parts.map((part) => Uint8Array.from(part)));
const times = (count: number, part: readonly number[]) => Buffer.alloc(count * part.length, Uint8Array.from(part));
const counted = (count: number, items: Uint8Array) => bytes(leb(count), items);
const sized = (body: Uint8Array) => bytes(leb(body.length), body);

const EMPTY = Uint8Array.from([0, 0x0b]);

/**
 * A plugin with additional functions of this body (locals, code, end), without parameters and results, and additional
 * types. The first of the functions may have a body of its own.
 */
function withFunctions(
  count: number,
  body: Uint8Array,
  [moreTypes, more]: readonly [number, Uint8Array] = [0, EMPTY.subarray(0, 0)],
  first = body,
): Uint8Array {
  const exported = (name: string, kind: number, index: number) =>
    bytes(leb(name.length), Buffer.from(name), [kind], leb(index));
  const types = [
    [0x60, 0, 0],
    [0x60, 2, 0x7f, 0x7f, 1, 0x7e],
    [0x60, 2, 0x7f, 0x7f, 1, 0x7f],
    [0x60, 3, 0x7f, 0x7f, 0x7f, 0],
  ].flat();
  // The filter answers with eight zeros at 8: no results.
  const own = bytes(
    [6, 0, 0x41, 0x80, 0x80, 2, 0x0b],
    [2, 0, 0x0b],
    [9, 0, 0x42, 0x88, 0x80, 0x80, 0x80, 0x80, 1, 0x0b],
  );
  const exports = [
    exported('memory', 2, 0),
    exported('cc_lb_alloc', 0, count),
    exported('cc_lb_free', 0, count + 1),
    exported('cc_lb_filter', 0, count + 2),
  ];
  return append(
    HEADER,
    section(1, counted(4 + moreTypes, bytes(types, more))),
    section(3, counted(count + 3, bytes(Buffer.alloc(count), [2, 3, 1]))),
    section(5, [1, 0, 1]),
    section(7, counted(4, bytes(...exports))),
    section(10, counted(count + 3, bytes(sized(first), times(count - 1, [...sized(body)]), own))),
    ...guestSections(),
  );
}

const withBody = (code: Uint8Array, locals: readonly number[] = [0]) => withFunctions(1, bytes(locals, code, [0x0b]));
const CONSTANT = [0x41, 1];
const END = [0x0b];

const nestedLoops = (depth: number) => withBody(bytes(times(depth, [0x03, 0x40]), times(depth, END)));
const nestedConditions = (depth: number) => withBody(bytes(times(depth, [...CONSTANT, 0x04, 0x40]), times(depth, END)));
const loads = (count: number) => bytes([0], times(count, [...CONSTANT, 0x28, 2, 0, 0x1a]), END);
const functionsAndLargeOne = (count: number) => withFunctions(count, EMPTY, [0, EMPTY.subarray(0, 0)], loads(count));
const computedGlobals = (count: number) =>
  guest({ fields: '(global i32 (i32.add (i32.const 1) (i32.const 2)))'.repeat(count) });

/** Many blocks, each of which the compiler tracks for each of many locals. */
function blocksTimesLocals(blockCount: number, locals: number): Uint8Array {
  const blocks = times(blockCount, [...CONSTANT, 0x04, 0x40, 0x0b]);
  const sets = Array.from({ length: locals }, (_, local) => [...CONSTANT, 0x21, ...leb(local)]).flat();
  return withBody(bytes(blocks, sets), [1, ...leb(locals), 0x7f]);
}

/** Locals that change in every one of the nested loops. */
function localsInLoops(locals: number, depth: number): Uint8Array {
  const changes = Array.from({ length: locals }, (_, local) => [
    ...[0x20, ...leb(local), ...CONSTANT, 0x6a],
    ...[0x21, ...leb(local)],
  ]);
  const again = times(depth, [...CONSTANT, 0x0d, 0, ...END]);
  return withBody(bytes(times(depth, [0x03, 0x40]), changes.flat(), again), [1, ...leb(locals), 0x7f]);
}

/** Returns a random module that exhausts time, memory or stack of the compiler, or nearly does. */
export function generateHostile(random: Random): Uint8Array {
  const some = (max: number) => Math.ceil(max / 10) + random.below(max);
  return random.pick([
    () => nestedLoops(some(50_000)),
    () => nestedConditions(some(40_000)),
    () => withFunctions(some(100), loads(some(4_000))),
    () => functionsAndLargeOne(some(60_000)),
    () => computedGlobals(some(64_000)),
    () => blocksTimesLocals(some(200_000), some(20_000)),
    () => localsInLoops(some(5_000), some(500)),
  ])();
}

/** The modules by name; created on demand, because some are large. */
export const HOSTILE_MODULES: Readonly<Record<string, () => Uint8Array>> = {
  'a memory of 4 GiB': () => guest({ memory: '65536' }),
  'a memory that may grow to 4 GiB': () => guest({ memory: '1 65536' }),
  'a table of 10,000,000': () => guest({ fields: '(table 10000000 funcref)' }),
  'a table of 4,294,967,295': () => guest({ fields: '(table 4294967295 funcref)' }),
  '100 tables of 100,000': () => guest({ fields: '(table 100000 funcref)'.repeat(100) }),
  'blocks nested 100,000 deep': () => withBody(bytes(times(100_000, [0x02, 0x40]), times(100_000, END))),
  'loops nested 10,000 deep': () => nestedLoops(10_000),
  'conditions nested 20,000 deep': () => nestedConditions(20_000),
  '100,000 additions': () => withBody(bytes(CONSTANT, times(100_000, [...CONSTANT, 0x6a]), [0x1a])),
  'values 50,000 high': () => withBody(bytes(times(50_000, CONSTANT), times(50_000, [0x1a]))),
  '50,000 locals': () => withBody(bytes(), [1, ...leb(50_000), 0x7e]),
  '4,294,967,295 locals': () => withBody(bytes(), [1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x7e]),
  'a br_table of 65,000': () => withBody(bytes([0x02, 0x40], CONSTANT, [0x0e], leb(65_000), times(65_001, [0]), END)),
  '20,000 branches to one place': () => withBody(bytes([0x02, 0x40], times(20_000, [...CONSTANT, 0x0d, 0]), END)),
  '200 functions of 1,000 loads': () => withFunctions(200, loads(1_000)),
  '20,000 functions': () => withFunctions(20_000, EMPTY),
  '1,000,001 functions': () => withFunctions(1_000_001, EMPTY),
  '5,000 functions of 1,000 loads': () => withFunctions(5_000, loads(1_000)),
  '15,000,000 memories': () => append(HEADER, section(5, counted(15_000_000, times(15_000_000, [0, 1])))),
  '10,000,000 types': () => append(HEADER, section(1, counted(10_000_000, times(10_000_000, [0x60, 0, 0])))),
  '1,000,000 types of 10 parameters': () =>
    append(HEADER, section(1, counted(1_000_000, times(1_000_000, [0x60, 10, ...Array(10).fill(0x7b), 0])))),
  '500,000 types that differ': () => {
    const types = Buffer.alloc(500_000 * 23);
    for (let type = 0; type < 500_000; type++) {
      const params = Array.from({ length: 20 }, (_, bit) => ((type >> bit) & 1 ? 0x7f : 0x7e));
      types.set([0x60, 20, ...params, 0], type * 23);
    }
    return withFunctions(1, EMPTY, [500_000, types]);
  },
  '30,000,000 functions': () => append(HEADER, section(3, counted(30_000_000, new Uint8Array(30_000_000)))),
  '8,000,000 imports': () => append(HEADER, section(2, counted(8_000_000, new Uint8Array(32_000_000)))),
  '100,000 globals': () => guest({ fields: '(global i32 (i32.const 0))'.repeat(100_000) }),
  '50,000 data segments': () => guest({ fields: '(data "x")'.repeat(50_000) }),
  '50,000 exports': () =>
    guest({ fields: Array.from({ length: 50_000 }, (_, index) => `(export "e${index}" (memory 0))`).join('') }),
  'metadata of 900 KiB': () => guest({ metadata: { description: 'd'.repeat(900 * 1024) } }),
  'metadata of 8 MiB': () => guest({ metadata: { description: 'd'.repeat(8 * 1024 * 1024) } }),
  'metadata nested 400,000 deep': () => {
    const nested = Buffer.from(`{"x":${'['.repeat(400_000)}${']'.repeat(400_000)}}`);
    return append(assemble(guestText()), ...guestSections({ sections: { 'cc_lb.plugin.v1': nested } }));
  },
  '100,000 metadata sections': () =>
    bytes(guest(), times(100_000, [...customSection('cc_lb.plugin.v1', metadataSection().subarray(0, 9))])),
  'sections that disagree': () => prepend(guest(), ...guestSections({ hooks: ['shape', 'observe'], schema: 2 })),
  'a section longer than the file': () => bytes(guest(), [0, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 97]),
  'functions announced that are not there': () => append(HEADER, section(3, [0xff, 0xff, 0xff, 0xff, 0x0f])),
  '32 MiB of zeros': () => new Uint8Array(32 * 1024 * 1024),
  'more bytes than are admitted': () => new Uint8Array(32 * 1024 * 1024 + 1),
  '200,000 functions': () => withFunctions(200_000, EMPTY),
  '85,000 functions': () => withFunctions(85_000, EMPTY),
  'a table of 200,000 blocks for each of 20,000 locals': () => blocksTimesLocals(200_000, 20_000),
  '5,000 locals that change in 500 nested loops': () => localsInLoops(5_000, 500),
  '64,000 globals that are computed': () => computedGlobals(64_000),
  '60,000 functions and a large one': () => functionsAndLargeOne(60_000),
  'loops nested 50,000 deep': () => nestedLoops(50_000),
};
