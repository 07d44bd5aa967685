/**
 * The exchange that transforms receive. It is equal for every event of a stream, so its validated and encoded form is
 * memoized by the request id. A caller may change its objects at any time: the memoized form is used only for an input
 * that is equal to its source, value by value, and only plain values are compared.
 */
import { claimsToWire, isPlainObject } from '../claims.ts';
import { InvalidArgumentError } from '../errors.ts';
import { Memo } from '../memo.ts';
import { encodingOf, type HeaderPairs, responseHeaders } from '../policy/headers.ts';
import type { HeadersInput, Principal, TransformContext } from '../types.ts';
import { EXCHANGE_FIELDS, type ExchangeValue } from '../wire/messages/transform.ts';
import { Prefix } from '../wire/prefix.ts';
import { principalKindValue, principalValue, upstreamUrl } from './values.ts';

/** Maximum number of memoized streams. */
const MAX_EXCHANGES = 1_024;
/** An exchange with more lines or claims, or with a longer text, is not memoized. */
const MAX_ENTRIES = 64;
const MAX_TEXT = 1_024;

/** An exchange in the form of the codec. */
export interface Exchange {
  readonly value: ExchangeValue;
  /** The content-encoding of the response; null if its body is not encoded. */
  readonly encoding: string | null;
  /** Its encoded bytes, set with the first event; null for an exchange that is not memoized. */
  readonly prefix: Prefix | null;
}

/** A copy of the source of an exchange. */
interface Remembered extends Exchange {
  readonly oauthPrincipalKind: string;
  readonly principalId: string;
  readonly principalKind: string;
  /** `[key, value, key, value, …]`, in the order of the object. */
  readonly claims: readonly unknown[];
  readonly baseUrl: string | null | undefined;
  readonly status: number;
  /** `[name, value, name, value, …]`, in the order of the caller's lines. */
  readonly lines: readonly string[];
}

const remembered = new Memo<string, Remembered>(MAX_EXCHANGES);

/** Returns the exchange of `input`. Throws an InvalidArgumentError for an invalid input. */
export function exchangeOf(input: TransformContext, oauthPrincipalKind: string): Exchange {
  const headers = responseHeaders(input.headers);
  return { value: exchangeValue(input, headers, oauthPrincipalKind), encoding: encodingOf(headers), prefix: null };
}

/** Like `exchangeOf`, memoized for the other events of the stream. */
export function streamExchangeOf(input: TransformContext, oauthPrincipalKind: string): Exchange {
  const known = remembered.get(input.requestId);
  if (known !== undefined && isSame(known, input, oauthPrincipalKind)) return known;
  const learned = learn(input, oauthPrincipalKind);
  if (learned === null) return exchangeOf(input, oauthPrincipalKind);
  remembered.set(learned.value.requestId, learned);
  return learned;
}

function exchangeValue(
  input: TransformContext,
  responseHeaders: HeaderPairs,
  oauthPrincipalKind: string,
): ExchangeValue {
  return {
    requestId: input.requestId,
    principal: principalValue(input.principal, oauthPrincipalKind),
    upstream: { baseUrl: upstreamUrl(input.upstream)?.href ?? null },
    requestMethod: input.requestMethod,
    requestPath: input.requestPath,
    canonicalModelId: input.canonicalModelId,
    responseStatus: statusOf(input.status),
    responseHeaders,
  };
}

/** The wire format has 16 bits for a status. Which codes are meaningful is between the upstream and its client. */
function statusOf(status: unknown): number {
  if (typeof status !== 'number' || !Number.isInteger(status) || status < 0 || status > 0xffff) {
    throw new InvalidArgumentError('status', 'expected an integer from 0 to 65535');
  }
  return status;
}

function isSame(known: Remembered, input: TransformContext, oauthPrincipalKind: string): boolean {
  const { principal, upstream } = input;
  return (
    known.oauthPrincipalKind === oauthPrincipalKind &&
    known.status === input.status &&
    known.value.requestMethod === input.requestMethod &&
    known.value.requestPath === input.requestPath &&
    known.value.canonicalModelId === input.canonicalModelId &&
    principal?.id === known.principalId &&
    principal.kind === known.principalKind &&
    hasClaims(principal.claims, known.claims) &&
    upstream?.kind === 'anthropic_direct' &&
    upstream.baseUrl === known.baseUrl &&
    hasLines(input.headers, known.lines)
  );
}

function hasClaims(claims: unknown, known: readonly unknown[]): boolean {
  if (!isPlainObject(claims)) return false;
  let next = 0;
  for (const key of Object.keys(claims)) {
    // `Object.is`, because `===` does not distinguish 0 and -0.
    if (key !== known[next] || !Object.is(claims[key], known[next + 1])) return false;
    next += 2;
  }
  return next === known.length;
}

function hasLines(headers: HeadersInput, known: readonly string[]): boolean {
  if (!Array.isArray(headers) || headers.length * 2 !== known.length) return false;
  const lines: readonly unknown[] = headers;
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i];
    if (!Array.isArray(line) || line.length !== 2) return false;
    if (line[0] !== known[2 * i] || line[1] !== known[2 * i + 1]) return false;
  }
  return true;
}

/**
 * Copies plain values, so that each is read once, and returns the exchange of the copy; null if a value is not plain.
 */
function learn(input: TransformContext, oauthPrincipalKind: string): Remembered | null {
  const { requestId, requestMethod, requestPath, canonicalModelId, status } = input;
  const { id, kind, claims } = input.principal ?? {};
  const { kind: upstreamKind, baseUrl } = input.upstream ?? {};
  const lines = plainLines(input.headers);
  const flatClaims = plainClaims(claims);
  if (lines === null || flatClaims === null || !isShort(requestId) || !isShort(id)) return null;
  if (!isShort(requestMethod) || !isShort(requestPath) || !isShort(canonicalModelId)) return null;
  if (
    !isShort(kind) ||
    upstreamKind !== 'anthropic_direct' ||
    !(isShort(baseUrl) || baseUrl === null || baseUrl === undefined)
  )
    return null;
  const headers = responseHeaders(pairsOf(lines));
  const value = {
    requestId,
    principal: {
      id,
      kind: principalKindValue(kind, oauthPrincipalKind, 'principal.kind'),
      claims: claimsToWire(Object.fromEntries(pairsOf(flatClaims)) as Principal['claims']),
    },
    upstream: { baseUrl: upstreamUrl({ kind: upstreamKind, baseUrl: baseUrl ?? null })?.href ?? null },
    requestMethod,
    requestPath,
    canonicalModelId,
    responseStatus: statusOf(status),
    responseHeaders: headers,
  };
  return {
    value,
    encoding: encodingOf(headers),
    prefix: new Prefix(EXCHANGE_FIELDS),
    oauthPrincipalKind,
    principalId: id,
    principalKind: kind,
    claims: flatClaims,
    baseUrl,
    status,
    lines,
  };
}

function plainLines(headers: unknown): string[] | null {
  if (!Array.isArray(headers) || headers.length > MAX_ENTRIES) return null;
  const flat: string[] = [];
  for (const line of headers as readonly unknown[]) {
    if (!Array.isArray(line) || line.length !== 2) return null;
    const [name, value] = line as readonly unknown[];
    if (!isShort(name) || !isShort(value)) return null;
    flat.push(name, value);
  }
  return flat;
}

function plainClaims(claims: unknown): unknown[] | null {
  if (!isPlainObject(claims)) return null;
  const keys = Object.keys(claims);
  if (keys.length > MAX_ENTRIES) return null;
  const flat: unknown[] = [];
  for (const key of keys) {
    const value = claims[key];
    if (typeof value === 'string' ? !isShort(value) : typeof value === 'object' && value !== null) return null;
    flat.push(key, value);
  }
  return flat;
}

function pairsOf<T>(flat: readonly T[]): [string, T][] {
  const pairs: [string, T][] = [];
  for (let i = 0; i < flat.length; i += 2) pairs.push([flat[i] as string, flat[i + 1]!]);
  return pairs;
}

function isShort(text: unknown): text is string {
  return typeof text === 'string' && text.length <= MAX_TEXT;
}
