import { Buffer } from 'node:buffer';
import { isUint8Array } from 'node:util/types';
import { InvalidArgumentError } from '../errors.ts';
import { Memo } from '../memo.ts';
import { quoted } from '../printable.ts';
import type { HeadersInput } from '../types.ts';
import { isOutOfBounds } from '../views.ts';
import { truncateUtf8, type WireBounds } from './bounds.ts';
import { InvalidAnswerError } from './invalid-answer.ts';
import { headerName, isHeaderValue } from './token.ts';

/**
 * Header lines one after the other: `[name, value, name, value, …]`. Names are lower-case and grouped by their first
 * appearance; values are latin1 code units. One flat array, because building a pair per line costs more than checking
 * it.
 */
type FlatLines = readonly string[];

/** Headers of one connection (RFC 9110, 7.6.1) that a shape cannot set; `proxy-connection` is not among them. */
const HOP_BY_HOP = [
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
];
/** Request headers that are withheld from plugins. */
const WITHHELD = new Set(['authorization', 'x-api-key', 'host', 'proxy-authorization']);
/**
 * Headers that the load balancer sets for the upstream. `proxy-connection` is not among them. The expression reads only
 * the start of a name, whose length is not limited yet. Without the flag `u`, `i` ignores the case of ASCII letters
 * alone: the Kelvin sign is not a `k`.
 */
const SET_BY_BALANCER = [...HOP_BY_HOP, 'host', 'content-length', 'authorization', 'x-api-key'];
const DROPPED_BY_SHAPE = new RegExp(`^(?:x-anthropic-|(?:${SET_BY_BALANCER.join('|')})$)`, 'i');
/** Options of a Connection line that are read: a transform may answer with thousands in a line. */
const MAX_OPTIONS = 100;
/** Longest reported name of a dropped header. */
const MAX_REPORTED_BYTES = 256;
/** Headers of one connection and of the framing of a message, which a transform cannot set. */
export const ONE_HOP = new Set([...HOP_BY_HOP, 'proxy-connection', 'content-length']);

/** Groups of header names, one bit each; a reader drops the lines of some of them. */
const GROUP = { none: 0, withheld: 1, cookie: 2, droppedByShape: 4, oneHop: 8 } as const;

/** The memoized facts of a header name. */
interface KnownName {
  readonly name: string;
  readonly lower: string;
  readonly groups: number;
  /** The last valid value of a caller, because most values recur; null for names whose values are secret. */
  value: string | null;
}

const KNOWN_NAMES = 1024;
/** Longer names and values are not memoized. */
const MAX_KNOWN_UNITS = 64;
const knownNames = new Memo<string, KnownName>(KNOWN_NAMES);
/** The names of the first lines of recent requests, by the index of the line: the next request often has the same. */
const RECENT_NAMES = 64;
const recentNames: KnownName[] = [];

/**
 * Returns the client's headers for a plugin: without authorization, x-api-key, host, proxy-authorization, and without
 * cookie under redaction.
 * @throws InvalidArgumentError with the path of the invalid line
 */
export function requestHeaders(input: HeadersInput, options: { readonly cookieRedaction: boolean }): FlatLines {
  return readHeaders(input, options.cookieRedaction ? GROUP.withheld | GROUP.cookie : GROUP.withheld);
}

/**
 * Returns an upstream's response headers for transforms, without any withheld.
 * @throws InvalidArgumentError with the path of the invalid line
 */
export function responseHeaders(input: HeadersInput): FlatLines {
  return readHeaders(input, GROUP.none);
}

/**
 * Returns the headers of a shape's answer for the upstream. Each line is dropped silently, or checked for the size of
 * its value, its name, its value. `headers` is the answer's flat list; text values are latin1 code units.
 * @throws InvalidAnswerError
 */
export function shapedHeaders(
  headers: readonly (string | Uint8Array)[],
  bounds: Pick<WireBounds, 'maxHeaderValueBytes'>,
): [string, string][] {
  const kept: string[] = [];
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    const known = knownName(name);
    if (known === undefined ? isDroppedByShape(name) : known.groups & GROUP.droppedByShape) continue;
    pushAnswered(kept, known, name, headers[i + 1]!, bounds);
  }
  return toPairs(grouped(kept));
}

/** The names of the lines that `shapedHeaders` drops, in lower case, truncated to 256 bytes. */
export function droppedByShape(headers: readonly (string | Uint8Array)[]): string[] {
  const names = headers.filter((_, index) => index % 2 === 0) as string[];
  return names.filter(isDroppedByShape).map((name) => truncateUtf8(name, MAX_REPORTED_BYTES).toLowerCase());
}

/**
 * Returns the headers of a transform's answer. Hop-by-hop headers and content-length are dropped silently; every other
 * line must be valid.
 * @throws InvalidAnswerError
 */
export function transformedHeaders(
  headers: readonly (string | Uint8Array)[],
  bounds: Pick<WireBounds, 'maxHeaders' | 'maxHeaderValueBytes'>,
): [string, string][] {
  checkHeaderCount(headers, bounds);
  const kept: string[] = [];
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    const known = knownName(name);
    if (known !== undefined && known.groups & GROUP.oneHop) continue;
    pushAnswered(kept, known, name, headers[i + 1]!, bounds);
  }
  return toPairs(grouped(kept));
}

/**
 * Rejects an answer with too many header lines.
 * @throws InvalidAnswerError
 */
export function checkHeaderCount(
  headers: readonly (string | Uint8Array)[],
  { maxHeaders }: Pick<WireBounds, 'maxHeaders'>,
): void {
  const lines = headers.length / 2;
  if (lines <= maxHeaders) return;
  throw new InvalidAnswerError('max_headers', `the answer has ${lines} headers, more than maxHeaders (${maxHeaders})`);
}

/**
 * Returns the client's headers for the upstream when a request is passed through. The lines that a shape cannot set are
 * dropped, so that the client's credentials are not forwarded, and those that Connection names.
 * @throws InvalidArgumentError with the path of the invalid line
 */
export function passThroughHeaders(input: HeadersInput): [string, string][] {
  const lines = readHeaders(input, GROUP.none);
  const named = namedByConnection(lines);
  return toPairs(lines).filter(([name]) => !isDroppedByShape(name) && !named.has(name));
}

/**
 * Returns the response headers for the client before a stream that a transformer may change: without hop-by-hop headers
 * (RFC 9110, 7.6.1, including those that Connection names), without content-length, and without content-encoding if the
 * body was replaced.
 * @throws InvalidArgumentError with the path of the invalid line
 *
 * @example
 * ```js
 * import { towardsClient } from 'cc-lb-runtime-wasmtime';
 *
 * const upstream = { 'content-type': 'text/event-stream', 'content-length': '99', connection: 'keep-alive' };
 * const headers = towardsClient(upstream, { replacedBody: true });
 * console.log(headers.map(([name]) => name)); // → [ 'content-type' ]
 * ```
 */
export function towardsClient(input: HeadersInput, options: { readonly replacedBody: boolean }): [string, string][] {
  if (typeof options?.replacedBody !== 'boolean') {
    throw new InvalidArgumentError('options.replacedBody', 'expected true or false');
  }
  const lines = responseHeaders(input);
  const named = namedByConnection(lines);
  return toPairs(lines).filter(
    ([name]) => !ONE_HOP.has(name) && !named.has(name) && !(options.replacedBody && name === 'content-encoding'),
  );
}

/** Returns the names of headers that the Connection lines declare to be of one connection. */
function namedByConnection(lines: FlatLines): ReadonlySet<string> {
  const named = new Set<string>();
  for (let i = 0; i < lines.length; i += 2) {
    if (lines[i] !== 'connection') continue;
    for (const option of lines[i + 1]!.split(',', MAX_OPTIONS)) named.add(option.trim().toLowerCase());
  }
  return named;
}

/** Returns the content-encoding of a response; null if its body is not encoded. */
export function encodingOf(lines: FlatLines): string | null {
  for (let i = 0; i < lines.length; i += 2) {
    if (lines[i] === 'content-encoding' && !isIdentity(lines[i + 1]!)) return lines[i + 1]!;
  }
  return null;
}

function isIdentity(encodings: string): boolean {
  return encodings.split(',').every((encoding) => ['', 'identity'].includes(encoding.trim().toLowerCase()));
}

/** Returns the headers in a form that can be read repeatedly: an iterator can be read only once. */
export function rereadable(input: HeadersInput): HeadersInput {
  if (typeof input !== 'object' || input === null || !isIterable(input)) return input;
  const iterator: unknown = input[Symbol.iterator]();
  return iterator === input ? [...input] : input;
}

function isDroppedByShape(name: string): boolean {
  return DROPPED_BY_SHAPE.test(name);
}

/** Returns the memoized facts of a name; undefined if it is not a valid header name. */
function knownName(name: string): KnownName | undefined {
  const known = knownNames.get(name);
  if (known !== undefined) return known;
  const lower = headerName(name);
  if (lower === undefined) return undefined;
  const withheld = WITHHELD.has(lower) ? GROUP.withheld : GROUP.none;
  const cookie = lower === 'cookie' ? GROUP.cookie : GROUP.none;
  const dropped = isDroppedByShape(lower) ? GROUP.droppedByShape : GROUP.none;
  const oneHop = ONE_HOP.has(lower) ? GROUP.oneHop : GROUP.none;
  const added = { name, lower, groups: withheld | cookie | dropped | oneHop, value: withheld | cookie ? null : '' };
  if (name.length <= MAX_KNOWN_UNITS) knownNames.set(name, added);
  return added;
}

/** `knownName` for the line with this index of a request. */
function knownNameAt(index: number, name: string): KnownName | undefined {
  const recent = recentNames[index];
  if (recent?.name === name) return recent;
  const known = knownName(name);
  if (known !== undefined && index < RECENT_NAMES && name.length <= MAX_KNOWN_UNITS) recentNames[index] = known;
  return known;
}

/** Whether a caller's value is valid. */
function checkValue(name: KnownName, value: string): boolean {
  if (value === name.value) return true;
  if (!isHeaderValue(value)) return false;
  if (name.value !== null && value.length <= MAX_KNOWN_UNITS) name.value = value;
  return true;
}

function readHeaders(input: HeadersInput, drops: number): FlatLines {
  if (typeof input !== 'object' || input === null) {
    throw new InvalidArgumentError('headers', 'expected pairs of name and value, or an object of headers');
  }
  return isIterable(input) ? readLines(input, drops) : readRecord(input, drops);
}

function isIterable(input: HeadersInput): input is Iterable<readonly [string, string | Uint8Array]> {
  return typeof (input as { [Symbol.iterator]?: unknown })[Symbol.iterator] === 'function';
}

function readLines(input: Iterable<unknown>, drops: number): FlatLines {
  const kept: string[] = [];
  let index = 0;
  for (const line of input) {
    if (!Array.isArray(line) || line.length !== 2) {
      throw new InvalidArgumentError(`headers[${index}]`, 'expected a pair of name and value');
    }
    const problem = push(kept, line[0], line[1], drops, index);
    if (problem !== null) throw new InvalidArgumentError(`headers[${index}]`, problem);
    index++;
  }
  return grouped(kept);
}

function readRecord(input: object, drops: number): FlatLines {
  const record = input as Readonly<Record<string, unknown>>;
  const kept: string[] = [];
  const names = Object.keys(record);
  for (let index = 0; index < names.length; index++) {
    const name = names[index]!;
    const value = record[name];
    if (value === undefined) continue;
    let problem: string | null = null;
    if (Array.isArray(value)) {
      for (let i = 0; i < value.length && problem === null; i++) problem = push(kept, name, value[i], drops, index);
    } else {
      problem = push(kept, name, value, drops, index);
    }
    if (problem !== null) throw new InvalidArgumentError(`headers['${name.slice(0, 80)}']`, problem);
  }
  return grouped(kept);
}

/** Appends a caller's line. Returns the problem of an invalid line; null for a valid one. */
function push(kept: string[], name: unknown, value: unknown, drops: number, index: number): string | null {
  if (typeof name !== 'string') return 'expected a string as the name';
  const known = knownNameAt(index, name);
  if (known === undefined) return 'expected a token of 1 to 65535 bytes as the name';
  let text: string;
  if (typeof value === 'string') text = value;
  else if (isUint8Array(value) && !isOutOfBounds(value)) text = latin1(value);
  else if (isUint8Array(value)) return "the value's buffer is detached or has shrunk";
  else return 'expected a string or a Uint8Array as the value';
  if (!checkValue(known, text)) return 'expected only tab, 0x20-0x7E and 0x80-0xFF in the value, as latin1 code units';
  if ((known.groups & drops) === 0) kept.push(known.lower, text);
  return null;
}

/**
 * Appends a line of a plugin's answer. Its value is not memoized: it may be a substring that keeps a larger text of the
 * answer in memory.
 */
function pushAnswered(
  kept: string[],
  known: KnownName | undefined,
  name: string,
  value: string | Uint8Array,
  { maxHeaderValueBytes }: Pick<WireBounds, 'maxHeaderValueBytes'>,
): void {
  if (value.length > maxHeaderValueBytes) {
    throw new InvalidAnswerError(
      'header_value_size',
      `header ${quoted(name)} has a value of more than maxHeaderValueBytes (${maxHeaderValueBytes})`,
    );
  }
  if (known === undefined) throw new InvalidAnswerError('header_name', `${quoted(name)} is not a valid header name`);
  const text = typeof value === 'string' ? value : latin1(value);
  if (text !== known.value && !isHeaderValue(text)) {
    throw new InvalidAnswerError(
      'header_value',
      `header ${quoted(name)} has a value with characters that are not allowed in a header`,
    );
  }
  kept.push(known.lower, text);
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}

/** For each hash of a name, the last list that contains it: lines of one name have the same hash. */
const lastList = new Uint32Array(1024);
let lists = 0;

/** Whether a name may be repeated; rarely true if all names differ. */
function mayRepeat(flat: FlatLines): boolean {
  lists = (lists + 1) >>> 0;
  for (let i = 0; i < flat.length; i += 2) {
    const name = flat[i]!;
    const { length } = name;
    const hash =
      (name.charCodeAt(0) * 37 + name.charCodeAt(length >> 1) * 11 + name.charCodeAt(length - 1) + length * 131) & 1023;
    if (lastList[hash] === lists) return true;
    lastList[hash] = lists;
  }
  return false;
}

/**
 * Groups the lines of a name at its first appearance (b, a, b → b, b, a), in the order in which a header map iterates.
 */
function grouped(flat: FlatLines): FlatLines {
  if (!mayRepeat(flat)) return flat;
  const groups = new Map<string, string[]>();
  for (let i = 0; i < flat.length; i += 2) {
    const name = flat[i]!;
    const group = groups.get(name);
    if (group === undefined) groups.set(name, [name, flat[i + 1]!]);
    else group.push(name, flat[i + 1]!);
  }
  return [...groups.values()].flat();
}

function toPairs(flat: FlatLines): [string, string][] {
  const pairs: [string, string][] = [];
  for (let i = 0; i < flat.length; i += 2) pairs.push([flat[i]!, flat[i + 1]!]);
  return pairs;
}
