/** Structure-aware mutation: damages pointers, lengths, tags and text of valid messages. */
import { type Message, type Plan, STEP } from '../../../src/wire/rkyv.ts';
import type { Random } from './random.ts';

/** A relative pointer with its length. */
interface Pointer {
  readonly at: number;
  readonly target: number;
  readonly length: number;
  /** Bytes per element. */
  readonly unit: number;
}

/** The positions of the parts of a valid message. */
interface Sites {
  readonly pointers: Pointer[];
  readonly tags: number[];
  readonly scalars: number[];
}

function survey(message: Message<unknown>, bytes: Uint8Array): Sites {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const sites: Sites = { pointers: [], tags: [], scalars: [] };
  const visit = (plan: Plan, owner: number): void => {
    if (plan.tagAt >= 0) sites.tags.push(owner + plan.tagAt);
    for (const step of plan.steps) {
      if (step.tagAt >= 0) {
        sites.tags.push(owner + step.tagAt);
        if (bytes[owner + step.tagAt] === 0) continue;
      }
      const at = owner + step.at;
      if (step.kind === STEP.struct) visit(step.plan!, owner);
      else if (step.kind <= STEP.f64) sites.scalars.push(at);
      else {
        const target = at + view.getInt32(at, true);
        const length = view.getUint32(at + 4, true);
        const unit = step.plan?.size ?? 1;
        sites.pointers.push({ at, target, length, unit });
        if (step.plan !== null) for (let i = 0; i < length; i++) visit(step.plan, target + i * unit);
      }
    }
  };
  const root = bytes.length - message.size;
  const tag = message.plans.length > 1 ? bytes[root]! : 0;
  visit(message.plans[tag]!, root);
  return sites;
}

const DELTAS = [1, -1, 2, -2, 3, 4, -4, 8, -8, 12, 16, -16, 24, 0x7fff_ffff, -0x8000_0000];
const LENGTHS = [0, 1, 2, 3, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x2000_0000, 0x1000_0001];
const TEXT = [
  [0x80],
  [0xc0, 0x80],
  [0xc1, 0xbf],
  [0xc3],
  [0xe0, 0x80, 0x80],
  [0xed, 0xa0, 0x80],
  [0xed, 0x9f, 0xbf],
  [0xef, 0xbb, 0xbf],
  [0xf0, 0x80, 0x80, 0x80],
  [0xf0, 0x9f, 0x98, 0x80],
  [0xf4, 0x8f, 0xbf, 0xbf],
  [0xf4, 0x90, 0x80, 0x80],
  [0xf8, 0x88, 0x80, 0x80],
  [0xc3, 0xa9],
  [0xe6, 0xbc, 0xa2],
  [0xff],
];

type Mutation = (bytes: Uint8Array, sites: Sites, random: Random) => Uint8Array;

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Writes if the position is inside: earlier mutations may have shortened the bytes. */
function setU32(bytes: Uint8Array, at: number, value: number): Uint8Array {
  if (at >= 0 && at + 4 <= bytes.length) viewOf(bytes).setUint32(at, value, true);
  return bytes;
}

function splice(bytes: Uint8Array, at: number, remove: number, insert: Uint8Array): Uint8Array {
  const end = Math.min(bytes.length, at + remove);
  const made = new Uint8Array(bytes.length - (end - at) + insert.length);
  made.set(bytes.subarray(0, at));
  made.set(insert, at);
  made.set(bytes.subarray(end), at + insert.length);
  return made;
}

function filler(random: Random, length: number): Uint8Array {
  return new Uint8Array(length).fill(random.pick([0, 0, 0, 0x20, 0xff]));
}

const flipBit: Mutation = (bytes, _, random) => {
  const at = random.below(bytes.length);
  bytes[at] = bytes[at]! ^ (1 << random.below(8));
  return bytes;
};

const setByte: Mutation = (bytes, _, random) => {
  bytes[random.below(bytes.length)] = random.pick([0, 1, 2, 0x7f, 0x80, 0xff, random.below(256)]);
  return bytes;
};

const shiftPointer: Mutation = (bytes, { pointers }, random) => {
  const { at, target } = random.pick(pointers);
  return setU32(bytes, at, target - at + random.pick(DELTAS));
};

const retargetPointer: Mutation = (bytes, { pointers }, random) => {
  const { at } = random.pick(pointers);
  const other = random.pick(pointers);
  return setU32(bytes, at, random.pick([other.target, other.target + other.length * other.unit, other.at, 0]) - at);
};

const swapPointers: Mutation = (bytes, { pointers }, random) => {
  const first = random.pick(pointers);
  const second = random.pick(pointers);
  setU32(bytes, first.at, second.target - first.at);
  setU32(bytes, second.at, first.target - second.at);
  if (random.below(3) === 0) return bytes;
  setU32(bytes, first.at + 4, second.length);
  return setU32(bytes, second.at + 4, first.length);
};

const setLength: Mutation = (bytes, { pointers }, random) => {
  const { at, length } = random.pick(pointers);
  const near = length + random.pick([1, -1, 2, -2, 4, -4, length]);
  return setU32(bytes, at + 4, random.below(3) === 0 ? random.pick(LENGTHS) : near);
};

/** Empties a list and moves its pointer: an empty list may point to any position that is aligned and in order. */
const emptyAndMove: Mutation = (bytes, { pointers }, random) => {
  const { at, target } = random.pick(pointers);
  setU32(bytes, at + 4, 0);
  return setU32(bytes, at, target - at + random.pick(DELTAS));
};

const setTag: Mutation = (bytes, { tags }, random) => {
  if (tags.length === 0) return flipBit(bytes, { tags, pointers: [], scalars: [] }, random);
  const at = random.pick(tags);
  if (at < bytes.length) bytes[at] = random.pick([0, 1, 2, 3, 4, 5, 6, 255]);
  return bytes;
};

const damageText: Mutation = (bytes, { pointers }, random) => {
  const { target, length } = random.pick(pointers);
  const piece = random.pick(TEXT);
  const at = random.below(3) === 0 ? target + length - piece.length : target + random.below(length + 1);
  for (let i = 0; i < piece.length; i++) if (at + i >= 0 && at + i < bytes.length) bytes[at + i] = piece[i]!;
  return bytes;
};

const damageScalar: Mutation = (bytes, { scalars }, random) =>
  scalars.length === 0 ? bytes : setU32(bytes, random.pick(scalars) + random.pick([0, 4]), random.next());

const truncate: Mutation = (bytes, _, random) => {
  const length = random.below(2) === 0 ? random.below(bytes.length) : bytes.length - 1 - random.below(8);
  return random.below(3) === 0 ? bytes.slice(Math.max(0, bytes.length - length)) : bytes.slice(0, Math.max(0, length));
};

const lead: Mutation = (bytes, _, random) => splice(bytes, 0, 0, filler(random, 1 + random.below(17)));
const trail: Mutation = (bytes, _, random) => splice(bytes, bytes.length, 0, filler(random, 1 + random.below(9)));
const insert: Mutation = (bytes, _, random) =>
  splice(bytes, random.below(bytes.length), 0, filler(random, random.pick([1, 2, 4, 8, 16])));
const remove: Mutation = (bytes, _, random) =>
  splice(bytes, random.below(bytes.length), random.pick([1, 2, 4, 8]), new Uint8Array(0));

const copyBlock: Mutation = (bytes, _, random) => {
  const from = random.below(bytes.length);
  const to = random.below(bytes.length);
  bytes.copyWithin(to, from, Math.min(bytes.length, from + random.pick([1, 4, 8, 16, 32])));
  return bytes;
};

/** Inserts bytes before an object and adjusts every pointer: the message is still valid if the alignment is preserved. */
const openGap: Mutation = (bytes, { pointers }, random) => {
  const gap = random.pick(pointers).target;
  const width = random.pick([1, 2, 4, 8, 8, 16, 16, 24]);
  if (gap < 0 || gap > bytes.length) return bytes;
  for (const { at, target } of pointers) if (at >= gap && target < gap) setU32(bytes, at, target - at - width);
  return splice(bytes, gap, 0, filler(random, width));
};

const MUTATIONS: readonly Mutation[] = [
  flipBit,
  setByte,
  shiftPointer,
  retargetPointer,
  swapPointers,
  setLength,
  emptyAndMove,
  setTag,
  damageText,
  damageScalar,
  truncate,
  lead,
  trail,
  insert,
  remove,
  copyBlock,
  openGap,
  openGap,
];
const NEEDS_POINTERS = new Set([
  shiftPointer,
  retargetPointer,
  swapPointers,
  setLength,
  emptyAndMove,
  damageText,
  openGap,
]);

/** Returns a copy of a valid message with one to three mutations. */
export function mutate(message: Message<unknown>, valid: Uint8Array, random: Random): Uint8Array {
  const sites = survey(message, valid);
  let bytes: Uint8Array = Uint8Array.from(valid);
  for (let left = random.pick([1, 1, 1, 2, 3]); left > 0 && bytes.length > 0; left--) {
    const mutation = random.pick(MUTATIONS);
    const blind = sites.pointers.length === 0 && NEEDS_POINTERS.has(mutation);
    bytes = (blind ? flipBit : mutation)(bytes, sites, random);
  }
  return bytes;
}
