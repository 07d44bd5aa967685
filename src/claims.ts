import { InvalidArgumentError } from './errors.ts';
import type { Principal } from './types.ts';

/** serde_json's own limit for reading; a guest could not read a claim that nests deeper. */
const MAX_DEPTH = 127;
/** Up to here keys are sorted by insertion. */
const MAX_INSERTED = 16;
const MIN_I64 = -(2n ** 63n);
const MAX_U64 = 2n ** 64n - 1n;
// A constant: for the oldest target the bundler turns the literal into a constructor's call.
const LONE_SURROGATE = /\p{Surrogate}/u;
/** ASCII without quote, backslash and control characters. */
const PRINTS_AS_IS = /^[ !#-[\]-\x7f]*$/;

/**
 * The claims as they cross: `[key, json, key, json, …]`, sorted by the keys' UTF-8 bytes, each value as serde_json
 * prints it. `path` leads to the claims in error messages.
 * @throws InvalidArgumentError with the path of what is not JSON, or nests more than 127 levels deep
 */
export function claimsToWire(claims: Principal['claims'], path = 'principal.claims'): string[] {
  if (!isPlainObject(claims)) throw new InvalidArgumentError(path, 'expected an object of claims');
  const flat: string[] = [];
  for (const key of sortedKeys(claims, path)) flat.push(key, print(claims[key], { path, key, above: null, depth: 1 }));
  return flat;
}

/** Where a value stands, kept as links so that a path is only spelled out for an error. */
interface Place {
  readonly path: string;
  readonly key: string | number;
  readonly above: (Place & { readonly holder: object }) | null;
  readonly depth: number;
}

function print(value: unknown, place: Place): string {
  switch (typeof value) {
    case 'string':
      if (PRINTS_AS_IS.test(value)) return `"${value}"`;
      if (hasLoneSurrogate(value)) throw wrong(place, 'the string has a lone surrogate');
      return JSON.stringify(value);
    case 'number':
      if (!Number.isFinite(value)) throw wrong(place, `${value} is not JSON`);
      return printNumber(value);
    case 'boolean':
      return value ? 'true' : 'false';
    case 'bigint':
      return printBigInt(value, place);
    case 'object':
      return value === null ? 'null' : printObject(value, place);
    default:
      throw wrong(place, `${typeof value} is not JSON`);
  }
}

function printObject(value: object, place: Place): string {
  if (place.depth > MAX_DEPTH) throw wrong(place, `nests more than ${MAX_DEPTH} levels deep`);
  for (let above = place.above; above !== null; above = above.above) {
    if (above.holder === value) throw wrong(place, 'contains itself');
  }
  const holder = { ...place, holder: value };
  const inside = (key: string | number): Place => ({ path: place.path, key, above: holder, depth: place.depth + 1 });
  if (Array.isArray(value)) {
    let text = '[';
    // By index, so that a hole is met as the undefined that it reads as.
    for (let i = 0; i < value.length; i++) text += (i === 0 ? '' : ',') + print(value[i], inside(i));
    return `${text}]`;
  }
  if (!isPlainObject(value)) throw wrong(place, `an instance of ${nameOfClass(value)} is not JSON`);
  let text = '{';
  for (const key of sortedKeys(value, place)) {
    text += `${text === '{' ? '' : ','}${JSON.stringify(key)}:${print(value[key], inside(key))}`;
  }
  return `${text}}`;
}

/**
 * serde_json keeps whole numbers of the i64 and u64 range apart from floats and prints them in full. A whole double is
 * taken as the integer that it is, except -0, which only a float can be.
 */
function printNumber(value: number): string {
  if (Number.isSafeInteger(value)) return Object.is(value, -0) ? '-0.0' : String(value);
  return Number.isInteger(value) ? printInteger(BigInt(value), value) : printFloat(value);
}

function printBigInt(value: bigint, place: Place): string {
  const float = Number(value);
  if (!Number.isFinite(float)) throw wrong(place, 'the integer is too large for JSON numbers as serde_json reads them');
  return printInteger(value, float);
}

function printInteger(value: bigint, float: number): string {
  return value >= MIN_I64 && value <= MAX_U64 ? value.toString() : printFloat(float);
}

/** Shortest digits that read back the same; unlike JavaScript, an exponent from 1e16 up and below 1e-5. */
function printFloat(value: number): string {
  const size = Math.abs(value);
  return size >= 1e16 || size < 1e-5 ? value.toExponential() : String(value);
}

/** The keys by their UTF-8 bytes, which is by code points: not by code units where surrogates meet U+E000 and up. */
function sortedKeys(object: object, place: Place | string): string[] {
  const keys = Object.keys(object);
  for (const key of keys) {
    if (hasLoneSurrogate(key)) {
      throw typeof place === 'string'
        ? new InvalidArgumentError(place, 'a key has a lone surrogate')
        : wrong(place, 'a key has a lone surrogate');
    }
  }
  return keys.length > MAX_INSERTED ? keys.sort(byCodePoints) : inserted(keys);
}

/** An insertion sort: of a few keys it is several times faster than the engine's. */
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

/** Surrogates stand for code points past U+FFFF, so they rank after every other code unit. */
function rank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}

function hasLoneSurrogate(text: string): boolean {
  return LONE_SURROGATE.test(text);
}

/** Whether the object is a literal of this or another realm, not an instance of a class. */
export function isPlainObject(value: unknown): value is Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function nameOfClass(value: object): string {
  const name: unknown = value.constructor?.name;
  return typeof name === 'string' && name !== '' ? name : 'a class';
}

function wrong(place: Place, expectation: string): InvalidArgumentError {
  const segments: string[] = [];
  for (let at: Place | null = place; at !== null; at = at.above) segments.push(segment(at.key));
  return new InvalidArgumentError(place.path + segments.reverse().join(''), expectation);
}

function segment(key: string | number): string {
  if (typeof key === 'number') return `[${key}]`;
  return /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(key) ? `.${key}` : `[${JSON.stringify(key.slice(0, 80))}]`;
}
