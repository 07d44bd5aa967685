/**
 * The layout rules of rkyv 0.8 as the published wire crates use it: little endian, 32-bit lengths, 32-bit relative
 * pointers, structs as Rust's `repr(C)`, enums as `repr(u8)`, a root at the end of a buffer that is aligned to 16.
 *
 * A message is data: fields in wire order, each with a type. `message()` lays it out once, at module load; `encode.ts`
 * and `decode.ts` traverse the result. Out-of-line data (text, bytes, slices) precedes its pointers, in field order.
 */

/** The kind of a leaf, which determines its encoding and its JavaScript value. */
export type LeafKind = 'u16' | 'u32' | 'u64' | 'f64' | 'text' | 'latin1' | 'json' | 'bytes' | 'body';

/** A field's type. */
export type WireType =
  | { readonly kind: Exclude<LeafKind, 'text'> }
  | { readonly kind: 'text'; readonly recurs?: boolean }
  | { readonly kind: 'option'; readonly of: WireType }
  | { readonly kind: 'slice' | 'pairs'; readonly of: StructType }
  | StructType
  | EnumType;

/** A field: its name in the value, its type, and the default for an absent one. */
export interface Field<Name extends string = string> {
  readonly name: Name;
  readonly type: WireType;
  readonly fallback?: unknown;
}

/** A struct, its fields in wire order. */
export interface StructType {
  readonly kind: 'struct';
  readonly fields: readonly Field[];
  /** Returns `fields` of a value as a list. Written by hand for structs whose fields are read often. */
  readonly read?: ((value: never) => readonly unknown[]) | undefined;
  /** Whether lists of it recur with the same texts in consecutive requests. */
  readonly recurs?: boolean | undefined;
  /** Whether the wire crates declare its fields in the enclosing struct. Error messages name them as fields of that. */
  readonly isFlattened?: boolean | undefined;
  /** Returns the value of a list of fields; also written by hand. */
  readonly make?: ((fields: readonly never[]) => unknown) | undefined;
}

/** An enum: the value's property `tag` names the variant; an enum with a single variant has no such property. */
export interface EnumType {
  readonly kind: 'enum';
  readonly tag: string | null;
  readonly variants: readonly { readonly name: string; readonly fields: readonly Field[] }[];
}

/** `u16`: an integer. */
export const u16: WireType = { kind: 'u16' };
/** `u32`: an integer. */
export const u32: WireType = { kind: 'u32' };
/** `u64`: a safe integer or a bigint; decodes to a bigint only past 2^53 − 1. */
export const u64: WireType = { kind: 'u64' };
/** `f64`: a number. */
export const f64: WireType = { kind: 'f64' };
/** `Box<str>`: a well-formed string. */
export const text: WireType = { kind: 'text' };
/** `text` with few values that recur in most messages; the decoder looks them up by their bytes. */
export const recurringText: WireType = { kind: 'text', recurs: true };
/** `Box<[u8]>` given as a latin1 string or as bytes; decodes to a latin1 string. */
export const latin1: WireType = { kind: 'latin1' };
/** `Box<[u8]>` given as a string, which is encoded in UTF-8, or as bytes; decodes to a view. */
export const json: WireType = { kind: 'json' };
/** `Box<[u8]>` given as bytes, which are copied; decodes to a view. */
export const bytes: WireType = { kind: 'bytes' };
/** `Box<[u8]>` given as bytes, which the encoder does not copy; at most one in a message. Decodes to a view. */
export const body: WireType = { kind: 'body' };

/** `Option<T>` of a leaf or a slice: null and undefined are `None`. */
export const option = (of: WireType): WireType => ({ kind: 'option', of });
/** `Box<[T]>`: a list of objects. */
export const slice = (of: StructType): WireType => ({ kind: 'slice', of });
/** `Box<[T]>` of a struct of two leaves: one flat list, `[first, second, first, second, …]`. */
export const pairs = (of: StructType): WireType => ({ kind: 'pairs', of });
/** A field. */
export const field = <Name extends string>(name: Name, type: WireType, fallback?: unknown): Field<Name> => ({
  name,
  type,
  fallback,
});
/** A struct of the given fields, which must be properties of its value's type. */
export const struct = <T>(
  fields: readonly Field<keyof T & string>[],
  fast: {
    read?: (value: T) => readonly unknown[];
    make?: (fields: readonly never[]) => unknown;
    recurs?: boolean;
    isFlattened?: boolean;
  } = {},
): StructType => ({ kind: 'struct', fields, ...fast });

/** Kinds of step; the first three are given as strings, the next three are numbers of whole words. */
export const STEP = {
  text: 0,
  latin1: 1,
  json: 2,
  u32: 3,
  u64: 4,
  f64: 5,
  u16: 6,
  bytes: 7,
  body: 8,
  slice: 9,
  pairs: 10,
  struct: 11,
} as const;

/** A field of a laid-out struct, for the encoder and the decoder. Offsets are relative to the enclosing object. */
export interface Step {
  readonly kind: number;
  /** Offset of the value itself. */
  readonly at: number;
  /** Offset of an option's tag, or -1. */
  readonly tagAt: number;
  readonly name: string;
  /** The path from the root or from the slice element, for error messages. */
  readonly path: string;
  readonly fallback: unknown;
  /** Whether it is a recurring text. */
  readonly recurs: boolean;
  /** The plan of a nested struct (offsets are relative to the enclosing object) or of a slice's element. */
  readonly plan: Plan | null;
}

/** The 32-bit words of a struct: the offset of each, and a mask of all ones for a relative pointer, 0 for others. */
export interface Words {
  readonly at: Int32Array;
  readonly pointers: Int32Array;
}

/** A laid-out struct. */
export interface Plan {
  readonly steps: readonly Step[];
  /** The words of a struct that consists of strings and numbers of whole words, in field order; else null. */
  readonly words: Words | null;
  /** Whether it is a struct of nothing but strings, which are its words. */
  readonly isStrings: boolean;
  /** Whether lists of it come again with the same texts; only of a struct that has words. */
  readonly recurs: boolean;
  readonly size: number;
  readonly align: number;
  /** Offset of an enum's tag, or -1, and the tag's value. */
  readonly tagAt: number;
  readonly tag: number;
  readonly read: (value: unknown) => readonly unknown[];
  readonly make: (fields: readonly unknown[]) => unknown;
}

/** A root type, laid out. */
export interface Message<T> {
  /** The Rust name of the root type. */
  readonly name: string;
  readonly size: number;
  readonly align: number;
  /** One plan for a struct, one per variant for an enum, in tag order. */
  readonly plans: readonly Plan[];
  /** The property that names the variant, and the variants' names; null for a struct. */
  readonly tag: { readonly property: string; readonly names: readonly string[] } | null;
  /** Never set: declares the type of the message's value. */
  readonly value?: T;
}

/** `position` rounded up to a multiple of `align`. */
export const alignUp = (position: number, align: number): number => Math.ceil(position / align) * align;

interface Extent {
  readonly size: number;
  readonly align: number;
}

const SCALARS: Partial<Record<WireType['kind'], Extent>> = {
  u16: { size: 2, align: 2 },
  u32: { size: 4, align: 4 },
  u64: { size: 8, align: 8 },
  f64: { size: 8, align: 8 },
};
/** `ArchivedBox` of an unsized type: a relative pointer, then a length. */
const BOX: Extent = { size: 8, align: 4 };

function extentOf(type: WireType): Extent {
  switch (type.kind) {
    case 'option': {
      const { size, align } = extentOf(type.of);
      return { size: align + size, align };
    }
    case 'struct':
      return extentOfFields(type.fields, 0);
    case 'enum':
      return extentOfEnum(type);
    default:
      return SCALARS[type.kind] ?? BOX;
  }
}

function extentOfFields(fields: readonly Field[], start: number): Extent {
  let end = start;
  let align = 1;
  for (const { type } of fields) {
    const extent = extentOf(type);
    end = alignUp(end, extent.align) + extent.size;
    align = Math.max(align, extent.align);
  }
  return { size: alignUp(end, align), align };
}

/** `repr(u8)`: a union of structs that all start with the tag. */
function extentOfEnum(type: EnumType): Extent {
  const extents = type.variants.map((variant) => extentOfFields(variant.fields, 1));
  const align = Math.max(...extents.map((extent) => extent.align));
  return { size: alignUp(Math.max(...extents.map((extent) => extent.size)), align), align };
}

function readByName(fields: readonly Field[]): Plan['read'] {
  const names = fields.map((entry) => entry.name);
  return (value) => {
    const list = new Array<unknown>(names.length);
    for (let i = 0; i < names.length; i++) list[i] = (value as Record<string, unknown>)[names[i]!];
    return list;
  };
}

function makeByName(fields: readonly Field[], tag: readonly [string, string] | null): Plan['make'] {
  const names = fields.map((entry) => entry.name);
  return (values) => {
    const made: Record<string, unknown> = {};
    if (tag !== null) made[tag[0]] = tag[1];
    for (let i = 0; i < names.length; i++) made[names[i]!] = values[i];
    return made;
  };
}

/** Creates every step, so that all have the same hidden class, on which the speed of the loops over them depends. */
function layOutStep({ name, type, fallback }: Field, start: number, prefix: string): Step {
  const at = alignUp(start, extentOf(type).align);
  const path = prefix + name;
  const leaf = type.kind === 'option' ? type.of : type;
  if (leaf.kind === 'option') throw new TypeError(`${name}: an option of an option is not supported`);
  const nested = leaf.kind === 'struct' || leaf.kind === 'enum';
  const isFlattened = leaf.kind === 'struct' && leaf.isFlattened === true;
  if (nested && leaf !== type) throw new TypeError(`${name}: an option must contain a leaf or a slice`);
  return {
    kind: nested ? STEP.struct : STEP[leaf.kind],
    at: leaf === type ? at : at + extentOf(leaf).align,
    tagAt: leaf === type ? -1 : at,
    name,
    path,
    fallback,
    recurs: leaf.kind === 'text' && leaf.recurs === true,
    plan: nested
      ? layOutNested(leaf, at, isFlattened ? prefix : `${path}.`)
      : 'of' in leaf
        ? layOutStruct(leaf.of, 0, '')
        : null,
  };
}

function layOutSteps(fields: readonly Field[], start: number, prefix: string): Step[] {
  let end = start;
  return fields.map((entry) => {
    const step = layOutStep(entry, end, prefix);
    const { size, align } = extentOf(entry.type);
    end = alignUp(end, align) + size;
    return step;
  });
}

function wordsOf(steps: readonly Step[]): Words | null {
  if (steps.some((step) => step.kind > STEP.f64 || step.tagAt >= 0)) return null;
  const words = steps.flatMap(({ kind, at }) => {
    const first = { at, pointer: kind <= STEP.json ? -1 : 0 };
    return kind === STEP.u32 ? [first] : [first, { at: at + 4, pointer: 0 }];
  });
  return { at: Int32Array.from(words, (word) => word.at), pointers: Int32Array.from(words, (word) => word.pointer) };
}

function layOutStruct(type: StructType, start: number, prefix: string): Plan {
  const steps = layOutSteps(type.fields, start, prefix);
  const { size, align } = extentOf(type);
  const read = (type.read as Plan['read'] | undefined) ?? readByName(type.fields);
  const make = (type.make as Plan['make'] | undefined) ?? makeByName(type.fields, null);
  const words = wordsOf(steps);
  const recurs = type.recurs === true && words !== null;
  const isStrings = steps.every((step) => step.kind <= STEP.json && step.tagAt < 0);
  return { steps, words, isStrings, recurs, size, align, tagAt: -1, tag: 0, read, make };
}

function layOutVariant(type: EnumType, index: number, start: number, prefix: string): Plan {
  const { name, fields } = type.variants[index]!;
  const steps = layOutSteps(fields, start + 1, prefix);
  const { size, align } = extentOfEnum(type);
  const make = makeByName(fields, type.tag === null ? null : [type.tag, name]);
  return {
    steps,
    words: null,
    isStrings: false,
    recurs: false,
    size,
    align,
    tagAt: start,
    tag: index,
    read: readByName(fields),
    make,
  };
}

function layOutNested(type: StructType | EnumType, start: number, prefix: string): Plan {
  if (type.kind === 'struct') return layOutStruct(type, start, prefix);
  if (type.variants.length !== 1) throw new TypeError('an enum of several variants can only be a root');
  return layOutVariant(type, 0, start, prefix);
}

/** Lays out a root type. Throws a TypeError for a combination that no published message uses. */
export function message<T>(name: string, type: StructType | EnumType): Message<T> {
  const plans =
    type.kind === 'struct'
      ? [layOutStruct(type, 0, '')]
      : type.variants.map((_, index) => layOutVariant(type, index, 0, ''));
  const tag =
    type.kind === 'enum' && type.tag !== null
      ? { property: type.tag, names: type.variants.map((variant) => variant.name) }
      : null;
  return { name, ...extentOf(type), plans, tag };
}
