/** Selects the header lines to forward, in the forms of undici and node:http. */
import type { IncomingHttpHeaders } from 'node:http';

/** Header lines in the order of the message. */
export type HeaderPairs = readonly [string, string][];

/** Lines of one hop (RFC 9110, 7.6.1), in both directions. */
const ONE_HOP = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'expect'],
  ...['proxy-authenticate', 'proxy-authorization'],
]);
/** Lines that this load balancer writes itself, or that are the client's secret. */
const REWRITTEN = new Set([...ONE_HOP, 'host', 'content-length', 'authorization', 'x-api-key', 'accept-encoding']);
const NOTHING_NAMED: ReadonlySet<string> = new Set();

/**
 * Returns the client's header lines for plugins: without hop-by-hop headers, including those that Connection names.
 * `accept-encoding` is also omitted, because plugins and observers require unencoded answers.
 */
export function endToEnd(rawHeaders: readonly string[], connection: string | undefined): [string, string][] {
  const named = namedBy(connection);
  const lines: [string, string][] = [];
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const lower = rawHeaders[i]!.toLowerCase();
    if (ONE_HOP.has(lower) || lower === 'accept-encoding' || named.has(lower)) continue;
    lines.push([lower, rawHeaders[i + 1]!]);
  }
  return lines;
}

/**
 * Returns the client's header lines in the form of undici for a request without a shape plugin: without hop-by-hop
 * headers, credentials, and headers that the load balancer sets. `keepsEncoding` keeps `accept-encoding`.
 */
export function towardsUpstream(
  rawHeaders: readonly string[],
  connection: string | undefined,
  keepsEncoding: boolean,
): string[] {
  const named = namedBy(connection);
  const flat: string[] = [];
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const lower = rawHeaders[i]!.toLowerCase();
    if (REWRITTEN.has(lower) && !(keepsEncoding && lower === 'accept-encoding')) continue;
    if (named.has(lower) || lower.startsWith('x-anthropic-')) continue;
    flat.push(lower, rawHeaders[i + 1]!);
  }
  return flat;
}

/**
 * Returns an upstream's headers in the form of node:http, without hop-by-hop headers. The body must be forwarded
 * unchanged. A 204 has no content-length (RFC 9110, section 8.6): some clients would wait for a body.
 */
export function towardsClientUnchanged(status: number, headers: IncomingHttpHeaders): string[] {
  const named = namedBy(headers.connection);
  const flat: string[] = [];
  for (const name in headers) {
    if (ONE_HOP.has(name) || named.has(name) || (status === 204 && name === 'content-length')) continue;
    const value = headers[name]!;
    if (typeof value === 'string') flat.push(name, value);
    else for (const line of value) flat.push(name, line);
  }
  return flat;
}

/** Returns the size of header lines in the form of node:http. A plugin may write up to a megabyte of them. */
export function headerBytes(flat: readonly string[]): number {
  return flat.reduce((bytes, { length }) => bytes + length, 0);
}

/** Returns the key of a client: `x-api-key`, or a bearer token; empty without one. */
export function apiKeyOf(headers: IncomingHttpHeaders): string {
  const key = headers['x-api-key'];
  return typeof key === 'string' ? key : bearerToken(headers);
}

/** Returns the token of an `authorization: Bearer` header; empty without one. */
export function bearerToken({ authorization = '' }: IncomingHttpHeaders): string {
  return /^Bearer (.+)$/i.exec(authorization)?.[1] ?? '';
}

/** Converts undici's headers to lines. */
export function linesOf(headers: IncomingHttpHeaders): [string, string][] {
  return Object.entries(headers).flatMap(([name, value]) =>
    typeof value === 'string'
      ? [[name, value] as [string, string]]
      : (value ?? []).map((line): [string, string] => [name, line]),
  );
}

/** Returns the names in a Connection header, except `keep-alive` and `close`, which are not header names. */
function namedBy(connection: string | string[] | undefined): ReadonlySet<string> {
  if (connection === undefined || connection === 'keep-alive' || connection === 'close') return NOTHING_NAMED;
  return new Set(
    String(connection)
      .split(',')
      .map((option) => option.trim().toLowerCase()),
  );
}
