/** The exchange that transforms receive: validated, and in the form of the codec. */
import { InvalidArgumentError } from '../errors.ts';
import { Memo } from '../memo.ts';
import { encodingOf, responseHeaders } from '../policy/headers.ts';
import type { TransformContext } from '../types.ts';
import type { ExchangeValue } from '../wire/messages/transform.ts';
import type { Prefix } from '../wire/prefix.ts';
import { principalValue, upstreamUrl } from './values.ts';

/** Equal in every schema of the transforms, which were added after the spelling changed. */
const OAUTH_PRINCIPAL_KIND = 'oauth_subject';

/** Characters of the memoized exchanges, and of one of them. */
const MAX_UNITS = 1024 * 1024;
const MAX_EXCHANGE_UNITS = 16 * 1024;
const recent = new Memo<string, Exchange>(MAX_UNITS);

/** A copy of an exchange. */
export interface Exchange {
  readonly value: ExchangeValue;
  /** The content-encoding of the response; null if its body is not encoded. */
  readonly encoding: string | null;
  /** Its encoded bytes, which the events of a stream share; null for a single call. */
  readonly prefix: Prefix | null;
}

/** Returns the exchange of one call. Throws an InvalidArgumentError for an invalid input. */
export function exchangeOf(input: TransformContext): Exchange {
  const headers = responseHeaders(input.headers);
  const value = {
    requestId: input.requestId,
    principal: principalValue(input.principal, OAUTH_PRINCIPAL_KIND),
    upstream: { baseUrl: upstreamUrl(input.upstream)?.href ?? null },
    requestMethod: input.requestMethod,
    requestPath: input.requestPath,
    canonicalModelId: input.canonicalModelId,
    responseStatus: statusOf(input.status),
    responseHeaders: headers,
  };
  return { value, encoding: encodingOf(headers), prefix: null };
}

/** Returns the exchange of all events of a stream, which is encoded once. Throws as `exchangeOf` does. */
export function streamExchangeOf(input: TransformContext): Exchange {
  const { value, encoding } = exchangeOf(input);
  return { value, encoding, prefix: { encoded: null } };
}

/**
 * Returns the exchange of one event that is transformed by itself: that of an earlier event if the two are equal, so
 * that the encoded form is shared. Throws as `exchangeOf` does.
 */
export function recurringExchangeOf(input: TransformContext): Exchange {
  const exchange = exchangeOf(input);
  const { value, encoding } = exchange;
  const known = recent.get(value.requestId);
  if (known !== undefined && isEqual(known.value, value)) return known;
  const units = unitsOf(value);
  if (units > MAX_EXCHANGE_UNITS) return exchange;
  const shared = { value, encoding, prefix: { encoded: null } };
  recent.set(value.requestId, shared, units);
  return shared;
}

/** Whether two exchanges are encoded equally. Only texts and numbers can be encoded. */
function isEqual(a: ExchangeValue, b: ExchangeValue): boolean {
  return (
    a.requestId === b.requestId &&
    a.principal.id === b.principal.id &&
    a.principal.kind === b.principal.kind &&
    a.upstream.baseUrl === b.upstream.baseUrl &&
    a.requestMethod === b.requestMethod &&
    a.requestPath === b.requestPath &&
    a.canonicalModelId === b.canonicalModelId &&
    a.responseStatus === b.responseStatus &&
    areEqual(a.principal.claims, b.principal.claims) &&
    areEqual(a.responseHeaders, b.responseHeaders)
  );
}

function areEqual(a: readonly unknown[], b: readonly unknown[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** The number of characters of an exchange, and about the size of its objects; infinite if it cannot be encoded. */
function unitsOf(value: ExchangeValue): number {
  const { requestId, principal, upstream, requestMethod, requestPath, canonicalModelId, responseHeaders } = value;
  const request = [requestId, requestMethod, requestPath, canonicalModelId, upstream.baseUrl ?? ''];
  let units = 256;
  for (const text of [...request, principal.id, principal.kind, ...principal.claims, ...responseHeaders]) {
    if (typeof text !== 'string') return Number.POSITIVE_INFINITY;
    units += text.length;
  }
  return units;
}

/** The wire format has 16 bits for a status. Which codes are meaningful is between the upstream and its client. */
function statusOf(status: unknown): number {
  if (typeof status !== 'number' || !Number.isInteger(status) || status < 0 || status > 0xffff) {
    throw new InvalidArgumentError('status', 'expected an integer from 0 to 65535');
  }
  return status;
}
