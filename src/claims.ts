import { InvalidArgumentError } from './errors.ts';
import type { Principal } from './types.ts';

/** The nesting limit of serde_json, beyond which a guest cannot parse a claim. */
const MAX_DEPTH = 127;
/** Up to this number, keys are sorted by insertion. */
const MAX_INSERTED = 16;
const MIN_I64 = -(2n ** 63n);
const MAX_U64 = 2n ** 64n - 1n;
/** ASCII without quote, backslash and control characters. */
const PRINTS_AS_IS = /^[ !#-[\]-\x7f]*$/;

/**
 * Encodes claims as `[key, json, key, json, …]`, sorted by the keys' UTF-8 bytes, with each value as serde_json prints
 * it. `path` is the path of the claims in error messages.
 * @throws InvalidArgumentError with the path of a value that is not JSON or nests more than 127 levels deep
 */
export function claimsToWire(claims: Principal['claims'], path = 'principal.claims'): string[] {
  if (!isPlainObject(claims)) throw new InvalidArgumentError(path, 'expected an object of claims');
  const flat: string[] = [];
  for (const key of sortedKeys(claims, path)) {
    const value = claims[key];
    flat.push(key, printPlain(value) ?? print(value, { path, key, above: null, depth: 1 }));
  }
  return flat;
}

/** Prints a value that needs no location, because it is valid; undefined for any other. */
function printPlain(value: unknown): string | undefined {
  switch (typeof value) {
    case 'string':
      return PRINTS_AS_IS.test(value) ? `"${value}"` : undefined;
    case 'number':
      return Number.isSafeInteger(value) ? printNumber(value) : undefined;
    case 'boolean':
      return value ? 'true' : 'false';
    default:
      return undefined;
  }
}

/** The location of a value as a linked list, so that its path is only formatted for an error. */
interface Location {
  readonly path: string;
  readonly key: string | number;
  readonly above: (Location & { readonly holder: object }) | null;
  readonly depth: number;
}

/** Prints any value. `printPlain` prints the most common ones. */
function print(value: unknown, location: Location): string {
  switch (typeof value) {
    case 'string':
      if (!value.isWellFormed()) throw wrong(location, 'the string has a lone surrogate');
      return JSON.stringify(value);
    case 'number':
      if (!Number.isFinite(value)) throw wrong(location, `${value} is not JSON`);
      return printNumber(value);
    case 'bigint':
      return printBigInt(value, location);
    case 'object':
      return value === null ? 'null' : printObject(value, location);
    default:
      throw wrong(location, `${typeof value} is not JSON`);
  }
}

function printObject(value: object, location: Location): string {
  if (location.depth > MAX_DEPTH) throw wrong(location, `nests more than ${MAX_DEPTH} levels deep`);
  for (let above = location.above; above !== null; above = above.above) {
    if (above.holder === value) throw wrong(location, 'contains itself');
  }
  // Not a spread, which takes longer than everything else in here.
  const holder = {
    path: location.path,
    key: location.key,
    above: location.above,
    depth: location.depth,
    holder: value,
  };
  const inside = (key: string | number): Location => ({
    path: location.path,
    key,
    above: holder,
    depth: location.depth + 1,
  });
  if (Array.isArray(value)) {
    let text = '[';
    // By index, so that a hole is read as undefined.
    for (let i = 0; i < value.length; i++)
      text += (i === 0 ? '' : ',') + (printPlain(value[i]) ?? print(value[i], inside(i)));
    return `${text}]`;
  }
  if (!isPlainObject(value)) throw wrong(location, `an instance of ${nameOfClass(value)} is not JSON`);
  let text = '{';
  for (const key of sortedKeys(value, location)) {
    const field = value[key];
    const name = printPlain(key) ?? JSON.stringify(key);
    text += `${text === '{' ? '' : ','}${name}:${printPlain(field) ?? print(field, inside(key))}`;
  }
  return `${text}}`;
}

/**
 * serde_json distinguishes integers of the i64 and u64 range from floats and prints all of their digits. An integral
 * double is encoded as an integer, except -0, which is a float.
 */
function printNumber(value: number): string {
  if (Number.isSafeInteger(value)) return Object.is(value, -0) ? '-0.0' : String(value);
  return Number.isInteger(value) ? printInteger(BigInt(value), value) : printFloat(value);
}

function printBigInt(value: bigint, location: Location): string {
  const float = Number(value);
  if (!Number.isFinite(float))
    throw wrong(location, 'the integer is too large for JSON numbers as serde_json reads them');
  return printInteger(value, float);
}

function printInteger(value: bigint, float: number): string {
  return value >= MIN_I64 && value <= MAX_U64 ? value.toString() : printFloat(float);
}

/** Formats the shortest digits that round-trip. Unlike JavaScript, uses an exponent from 1e16 up and below 1e-5. */
function printFloat(value: number): string {
  const size = Math.abs(value);
  return size >= 1e16 || size < 1e-5 ? value.toExponential() : String(value);
}

/**
 * Returns the keys in the order of their UTF-8 bytes, which is that of code points and differs from that of code units.
 */
function sortedKeys(object: object, location: Location | string): string[] {
  const keys = Object.keys(object);
  for (const key of keys) {
    if (!key.isWellFormed()) {
      throw typeof location === 'string'
        ? new InvalidArgumentError(location, 'a key has a lone surrogate')
        : wrong(location, 'a key has a lone surrogate');
    }
  }
  return keys.length > MAX_INSERTED ? keys.sort(byCodePoints) : inserted(keys);
}

/** An insertion sort, which is several times faster than the built-in sort for few keys. */
function inserted(keys: string[]): string[] {
  for (let i = 1; i < keys.length; i++) {
    const key = keys[i]!;
    let at = i;
    for (; at > 0 && byCodePoints(keys[at - 1]!, key) > 0; at--) keys[at] = keys[at - 1]!;
    keys[at] = key;
  }
  return keys;
}

function byCodePoints(a: string, b: string): number {
  const shorter = Math.min(a.length, b.length);
  for (let i = 0; i < shorter; i++) {
    const left = a.charCodeAt(i);
    const right = b.charCodeAt(i);
    if (left !== right) return rank(left) - rank(right);
  }
  return a.length - b.length;
}

/** Surrogates encode code points past U+FFFF, so they rank after every other code unit. */
function rank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}

/** Whether the value is a plain object of this or another realm, not an instance of a class. */
function isPlainObject(value: unknown): value is Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function nameOfClass(value: object): string {
  const name: unknown = value.constructor?.name;
  return typeof name === 'string' && name !== '' ? name : 'a class';
}

function wrong(location: Location, expectation: string): InvalidArgumentError {
  const segments: string[] = [];
  for (let at: Location | null = location; at !== null; at = at.above) segments.push(segment(at.key));
  return new InvalidArgumentError(location.path + segments.reverse().join(''), expectation);
}

function segment(key: string | number): string {
  if (typeof key === 'number') return `[${key}]`;
  return /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(key) ? `.${key}` : `[${JSON.stringify(key.slice(0, 80))}]`;
}
