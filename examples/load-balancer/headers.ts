/** Which header lines cross the load balancer, and in what form undici and node:http take them. */
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
 * The client's header lines without those of its hop, the ones that Connection names included: what plugins see.
 * `accept-encoding` is left out too, because plugins and observers need answers that are not encoded.
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
 * The client's header lines as undici takes them when no plugin shapes the request: without those of its hop, its
 * credentials, and what is written here. `accept-encoding` stays where `keepsEncoding`.
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

/** An upstream's answer as node:http takes it, without the lines of its hop. The body must go on as it came. */
export function towardsClientUnchanged(headers: IncomingHttpHeaders): string[] {
  const named = namedBy(headers.connection);
  const flat: string[] = [];
  for (const name in headers) {
    if (ONE_HOP.has(name) || named.has(name)) continue;
    const value = headers[name]!;
    if (typeof value === 'string') flat.push(name, value);
    else for (const line of value) flat.push(name, line);
  }
  return flat;
}

/** Undici's headers as lines. */
export function linesOf(headers: IncomingHttpHeaders): [string, string][] {
  return Object.entries(headers).flatMap(([name, value]) =>
    typeof value === 'string'
      ? [[name, value] as [string, string]]
      : (value ?? []).map((line): [string, string] => [name, line]),
  );
}

/** The names that a Connection header makes lines of its hop; `keep-alive` and `close` are in no message's way. */
function namedBy(connection: string | string[] | undefined): ReadonlySet<string> {
  if (connection === undefined || connection === 'keep-alive' || connection === 'close') return NOTHING_NAMED;
  return new Set(
    String(connection)
      .split(',')
      .map((option) => option.trim().toLowerCase()),
  );
}
