/** Converts arguments of callers to values of the codec: principals, upstreams, bodies. */
import { claimsToWire } from '../claims.ts';
import { InvalidArgumentError } from '../errors.ts';
import { Memo } from '../memo.ts';
import type { Principal, PrincipalKind, Upstream } from '../types.ts';
import { checkBytes, checkObject } from '../validate.ts';
import type { PrincipalValue } from '../wire/messages/common.ts';

const PRINCIPAL_KINDS: ReadonlySet<unknown> = new Set<PrincipalKind>([
  'api_key',
  'oauth_subject',
  'internal_key',
  'workload_identity',
  'subscription_bearer',
]);
/** Memo of normalized base URLs, which are few and recur with every request. */
const KNOWN_URLS = 256;
const urls = new Memo<string, URL>(KNOWN_URLS);

/** Converts a principal to the form of this schema. */
export function principalValue(principal: Principal, oauthPrincipalKind: string): PrincipalValue {
  checkObject(principal, 'principal');
  const { id, kind, claims } = principal;
  return { id, kind: principalKindValue(kind, oauthPrincipalKind, 'principal.kind'), claims: claimsToWire(claims) };
}

/** Returns the kind of a principal in the spelling of this schema. */
export function principalKindValue(kind: PrincipalKind, oauthPrincipalKind: string, path: string): string {
  if (!PRINCIPAL_KINDS.has(kind)) {
    throw new InvalidArgumentError(path, `expected one of ${[...PRINCIPAL_KINDS].join(', ')}`);
  }
  return kind === 'oauth_subject' ? oauthPrincipalKind : kind;
}

/** Returns the same principal in the spelling of another schema. */
export function principalFor(principal: PrincipalValue, from: string, to: string): PrincipalValue {
  return from !== to && principal.kind === from ? { ...principal, kind: to } : principal;
}

/** Returns the normalized base URL of an upstream; null without one. The URL is shared and must not be changed. */
export function upstreamUrl(upstream: Upstream): URL | null {
  checkObject(upstream, 'upstream');
  if (upstream.kind !== 'anthropic_direct') {
    throw new InvalidArgumentError('upstream.kind', "expected 'anthropic_direct'");
  }
  const { baseUrl } = upstream;
  if (baseUrl === undefined || baseUrl === null) return null;
  if (typeof baseUrl !== 'string' && !(baseUrl instanceof URL)) {
    throw new InvalidArgumentError('upstream.baseUrl', 'expected a URL, a string, null, or undefined');
  }
  const text = String(baseUrl);
  const known = urls.get(text);
  if (known !== undefined) return known;
  if (!URL.canParse(text)) throw new InvalidArgumentError('upstream.baseUrl', 'expected an absolute URL');
  const url = new URL(text);
  urls.set(text, url);
  return url;
}

/** Returns the body after validation, without a copy. */
export function bodyOf(body: unknown): Uint8Array {
  checkBytes(body, 'body');
  return body;
}
