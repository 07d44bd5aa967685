/** Random, well-typed modules, and plugins that contain them. */
import { guestSections } from '../support/guest.ts';
import { append, leb, section } from '../support/wat.ts';
import type { Random } from '../wire/fuzz/random.ts';

type Type = 'i32' | 'i64' | 'f32' | 'f64';
const TYPES: readonly Type[] = ['i32', 'i64', 'f32', 'f64'];
const CODE: Readonly<Record<Type, number>> = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c };
const range = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, index) => first + index);

/** Opcodes by operand types and result. */
const OPERATORS: readonly (readonly [takes: readonly Type[], gives: Type, codes: readonly number[]])[] = [
  [['i32'], 'i32', [0x45, ...range(0x67, 0x69), 0xc0, 0xc1]],
  [['i32', 'i32'], 'i32', [...range(0x46, 0x4f), ...range(0x6a, 0x78)]],
  [['i64'], 'i32', [0x50, 0xa7]],
  [['i64', 'i64'], 'i32', range(0x51, 0x5a)],
  [['f32', 'f32'], 'i32', range(0x5b, 0x60)],
  [['f64', 'f64'], 'i32', range(0x61, 0x66)],
  [['i64'], 'i64', [...range(0x79, 0x7b), 0xc2, 0xc3, 0xc4]],
  [['i64', 'i64'], 'i64', range(0x7c, 0x8a)],
  [['i32'], 'i64', [0xac, 0xad]],
  [['f32'], 'f32', range(0x8b, 0x91)],
  [['f32', 'f32'], 'f32', range(0x92, 0x98)],
  [['f64'], 'f64', range(0x99, 0x9f)],
  [['f64', 'f64'], 'f64', range(0xa0, 0xa6)],
  [['f32'], 'i32', [0xa8, 0xa9, 0xbc]],
  [['f64'], 'i32', [0xaa, 0xab]],
  [['f32'], 'i64', [0xae, 0xaf]],
  [['f64'], 'i64', [0xb0, 0xb1, 0xbd]],
  [['i32'], 'f32', [0xb2, 0xb3, 0xbe]],
  [['i64'], 'f32', [0xb4, 0xb5]],
  [['f64'], 'f32', [0xb6]],
  [['i32'], 'f64', [0xb7, 0xb8]],
  [['i64'], 'f64', [0xb9, 0xba, 0xbf]],
  [['f32'], 'f64', [0xbb]],
];
/** Loads and stores: opcode and the largest alignment exponent. */
const LOADS: Readonly<Record<Type, readonly (readonly [number, number])[]>> = {
  i32: [
    [0x28, 2],
    [0x2c, 0],
    [0x2d, 0],
    [0x2e, 1],
    [0x2f, 1],
  ],
  i64: [
    [0x29, 3],
    [0x30, 0],
    [0x31, 0],
    [0x32, 1],
    [0x34, 2],
  ],
  f32: [[0x2a, 2]],
  f64: [[0x2b, 3]],
};
const STORES: Readonly<Record<Type, readonly (readonly [number, number])[]>> = {
  i32: [
    [0x36, 2],
    [0x3a, 0],
    [0x3b, 1],
  ],
  i64: [
    [0x37, 3],
    [0x3c, 0],
    [0x3d, 1],
    [0x3e, 2],
  ],
  f32: [[0x38, 2]],
  f64: [[0x39, 3]],
};

const signed = (value: bigint): number[] => {
  const bytes: number[] = [];
  for (let rest = value; ; ) {
    const byte = Number(rest & 0x7fn);
    rest >>= 7n;
    if ((rest === 0n && (byte & 0x40) === 0) || (rest === -1n && (byte & 0x40) !== 0)) return [...bytes, byte];
    bytes.push(byte | 0x80);
  }
};

/** One function's body. Locals are known by type; every global is mutable and every function takes two i32. */
class Body {
  readonly #random: Random;
  readonly #locals: readonly Type[];
  readonly #globals: readonly Type[];
  readonly #callees: number;
  #fuel: number;

  constructor(random: Random, locals: readonly Type[], globals: readonly Type[], callees: number, fuel: number) {
    this.#random = random;
    this.#locals = locals;
    this.#globals = globals;
    this.#callees = callees;
    this.#fuel = fuel;
  }

  expression(type: Type, depth = 0): number[] {
    const { next, below } = { next: () => this.#random.next(), below: (bound: number) => this.#random.below(bound) };
    if (depth > 6 || this.#fuel-- < 0) return this.#constant(type);
    const inner = (wanted: Type) => this.expression(wanted, depth + 1);
    switch (below(9)) {
      case 0:
        return this.#constant(type);
      case 1:
      case 2: {
        const known = this.#locals.flatMap((local, index) => (local === type ? [index] : []));
        return known.length === 0 ? this.#constant(type) : [0x20, ...leb(this.#random.pick(known))];
      }
      case 3: {
        const [load, alignment] = this.#random.pick(LOADS[type]);
        // Mostly inside the memory, because code after a trap does not run.
        const address = below(8) === 0 ? inner('i32') : [0x41, ...signed(BigInt(below(60_000)))];
        return [...address, load, below(alignment + 1), ...leb(below(4_096))];
      }
      case 4:
        return [...inner(type), ...inner(type), ...inner('i32'), 0x1b];
      case 5:
        return [...inner('i32'), 0x04, CODE[type], ...inner(type), 0x05, ...inner(type), 0x0b];
      case 6: {
        const known = this.#globals.flatMap((global, index) => (global === type ? [index] : []));
        return known.length === 0 ? this.#constant(type) : [0x23, ...leb(this.#random.pick(known))];
      }
      case 7:
        if (type !== 'i64' || this.#callees === 0) break;
        return next() % 2 === 0
          ? [...inner('i32'), ...inner('i32'), 0x10, ...leb(below(this.#callees))]
          : [...inner('i32'), ...inner('i32'), 0x41, ...signed(BigInt(below(this.#callees + 1))), 0x11, 0, 0];
    }
    const [takes, , codes] = this.#random.pick(OPERATORS.filter(([, gives]) => gives === type));
    return [...takes.flatMap((taken) => inner(taken)), this.#random.pick(codes)];
  }

  statement(depth = 0): number[] {
    const below = (bound: number) => this.#random.below(bound);
    const type = this.#random.pick(TYPES);
    const block = () =>
      range(0, below(3)).flatMap(() => (depth > 4 || this.#fuel < 0 ? [0x01] : this.statement(depth + 1)));
    switch (below(10)) {
      case 0: {
        const [store, alignment] = this.#random.pick(STORES[type]);
        const address = [0x41, ...signed(BigInt(below(60_000)))];
        return [...address, ...this.expression(type), store, below(alignment + 1), ...leb(below(4_096))];
      }
      case 1:
        return [...this.expression('i32'), 0x04, 0x40, ...block(), 0x05, ...block(), 0x0b];
      case 2:
        // Sometimes leaves the block.
        return [0x02, 0x40, ...this.expression('i32'), 0x0d, 0, ...block(), 0x0b];
      case 3:
        // Repeats while a random condition holds: some loops never end.
        return [
          0x03,
          0x40,
          ...block(),
          ...this.expression('i32'),
          ...(below(4) > 0 ? [0x41, 0, 0x71] : []),
          0x0d,
          0,
          0x0b,
        ];
      case 4:
        return [0x02, 0x40, 0x02, 0x40, ...this.expression('i32'), 0x0e, 2, 0, 1, 0, 0x0b, ...block(), 0x0b];
      case 5:
        return [...this.expression('i32'), 0x40, 0, 0x1a];
      case 6: {
        const small = () => [0x41, ...signed(BigInt(below(30_000)))];
        return [...small(), ...small(), ...small(), 0xfc, ...(below(2) === 0 ? [0x0b, 0] : [0x0a, 0, 0])];
      }
      case 7: {
        const known = this.#globals.flatMap((global, index) => (global === type ? [index] : []));
        if (known.length > 0) return [...this.expression(type), 0x24, ...leb(this.#random.pick(known))];
        return [...this.expression(type), 0x1a];
      }
      default: {
        const known = this.#locals.flatMap((local, index) => (local === type ? [index] : []));
        if (known.length > 0) return [...this.expression(type), 0x21, ...leb(this.#random.pick(known))];
        return [...this.expression(type), 0x1a];
      }
    }
  }

  #constant(type: Type): number[] {
    const interesting = [0n, 1n, -1n, 0x7fffn, 0x7fff_ffffn, -0x8000_0000n, BigInt(this.#random.next() | 0)];
    const value = this.#random.pick(interesting);
    if (type === 'i32') return [0x41, ...signed(value)];
    if (type === 'i64') return [0x42, ...signed(this.#random.below(2) === 0 ? value : BigInt.asIntN(64, value << 31n))];
    const bytes = range(1, type === 'f32' ? 4 : 8).map(() => this.#random.below(256));
    return [type === 'f32' ? 0x43 : 0x44, ...bytes];
  }
}

const vector = (items: readonly (readonly number[])[]): number[] => [...leb(items.length), ...items.flat()];
const named = (name: string): number[] => vector([...Buffer.from(name)].map((byte) => [byte]));
const sized = (bytes: readonly number[]): number[] => [...leb(bytes.length), ...bytes];

/** A filter plugin whose hook runs random code before it answers. */
export function generate(random: Random): Uint8Array {
  const others = 1 + random.below(6);
  const globals = range(0, random.below(5)).map(() => random.pick(TYPES));
  const zero = { i32: [0x41, 0], i64: [0x42, 0], f32: [0x43, 0, 0, 0, 0], f64: [0x44, 0, 0, 0, 0, 0, 0, 0, 0] };
  const [alloc, free, hook] = [others, others + 1, others + 2];
  const body = (callees: number, end: readonly number[] | null): number[] => {
    const locals = range(0, random.below(6)).map(() => random.pick(TYPES));
    const writer = new Body(random, ['i32', 'i32', ...locals], globals, callees, 40 + random.below(200));
    const statements = range(0, random.below(8)).flatMap(() => writer.statement());
    const result = end ?? writer.expression('i64');
    return sized([...vector(locals.map((type) => [1, CODE[type]])), ...statements, ...result, 0x0b]);
  };
  // Two empty results: an answer of eight zeros, with its length of no results.
  const answer = [0x42, ...signed((8n << 32n) | 8n)];
  const bodies = [
    ...range(0, others - 1).map((index) => body(index, null)),
    sized([0, 0x41, ...signed(32_768n), 0x0b]),
    sized([0, 0x0b]),
    body(others, random.below(2) === 0 ? answer : null),
  ];
  const i32 = CODE.i32;
  const types = [
    [0x60, 2, i32, i32, 1, CODE.i64],
    [0x60, 2, i32, i32, 1, i32],
    [0x60, 3, i32, i32, i32, 0],
  ];
  const exported = [
    [...named('memory'), 2, 0],
    [...named('cc_lb_alloc'), 0, ...leb(alloc!)],
    [...named('cc_lb_free'), 0, ...leb(free!)],
    [...named('cc_lb_filter'), 0, ...leb(hook!)],
  ];
  const sections = [
    section(1, vector(types)),
    section(3, vector([...range(0, others - 1).map(() => [0]), [1], [2], [0]])),
    section(4, vector([[0x70, 0, ...leb(others + 1)]])),
    section(5, vector([[0, 1 + random.below(3)]])),
    section(6, vector(globals.map((type) => [CODE[type], 1, ...zero[type], 0x0b]))),
    section(7, vector(exported)),
    section(9, vector([[0, 0x41, 0, 0x0b, ...vector(range(0, others - 1).map((index) => leb(index)))]])),
    section(10, vector(bodies)),
    section(11, vector([[0, 0x41, ...signed(16n), 0x0b, ...vector(range(0, 63).map(() => [random.below(256)]))]])),
  ];
  const header = Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
  return append(append(header, ...sections), ...guestSections());
}

/** Returns the bytes with random changes: bits, bytes, and ranges that are moved, duplicated, removed or truncated. */
export function mutate(random: Random, bytes: Uint8Array, limit = bytes.length): Uint8Array {
  let changed = Buffer.from(bytes);
  for (let count = 1 + random.below(4); count > 0; count--) {
    const most = Math.min(limit, changed.length);
    if (most === 0) break;
    const at = random.below(most);
    const length = Math.min(1 + random.below(24), most - at);
    switch (random.below(8)) {
      case 0:
      case 1:
        changed[at]! ^= 1 << random.below(8);
        break;
      case 2:
      case 3:
        changed[at] = random.pick([0, 1, 0x0b, 0x40, 0x7f, 0x80, 0xff, random.below(256)]);
        break;
      case 4:
        changed.copyWithin(random.below(most), at, at + length);
        break;
      case 5:
        changed = Buffer.concat([changed.subarray(0, at), changed.subarray(at + length)]);
        break;
      case 6:
        changed = Buffer.concat([changed.subarray(0, at + length), changed.subarray(at)]);
        break;
      default:
        if (random.below(16) === 0) changed = changed.subarray(0, at);
        else changed.fill(random.below(256), at, at + length);
    }
  }
  return changed;
}
