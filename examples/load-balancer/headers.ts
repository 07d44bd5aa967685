/** Which of a client's headers go on, and in what form undici takes them. */

/** Header lines in the order of the message. */
export type HeaderPairs = readonly [string, string][];

const ONE_HOP = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'expect'],
  ...['proxy-authenticate', 'proxy-authorization'],
]);

/**
 * The client's header lines without those of its hop (RFC 9110, 7.6.1), the ones that Connection names included. Plugins
 * see what is left. `accept-encoding` goes too, because this load balancer reads the answers.
 */
export function endToEnd(rawHeaders: readonly string[]): [string, string][] {
  const lines = pairs(rawHeaders);
  const named = lines
    .filter(([name]) => name.toLowerCase() === 'connection')
    .flatMap(([, value]) => value.split(',').map((option) => option.trim().toLowerCase()));
  const dropped = new Set([...ONE_HOP, ...named, 'accept-encoding']);
  return lines.filter(([name]) => !dropped.has(name.toLowerCase()));
}

/** `[name, value, name, value, …]` as pairs. */
export function pairs(flat: readonly string[]): [string, string][] {
  const lines: [string, string][] = [];
  for (let i = 0; i + 1 < flat.length; i += 2) lines.push([flat[i]!, flat[i + 1]!]);
  return lines;
}

/** The first value under a lower-case name. */
export function headerValue(lines: HeaderPairs, lowerName: string): string | undefined {
  return lines.find(([name]) => name.toLowerCase() === lowerName)?.[1];
}
