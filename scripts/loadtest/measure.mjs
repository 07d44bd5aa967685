// Measures contestants in interleaved rounds.
import { median } from '../../bench/statistics.mjs';
import { load, quantile } from './client.mjs';
import { cpuMs, HEADERS } from './contestants.mjs';

/** Returns a request body of about `bytes` bytes in the form of the Anthropic API. */
export function bodyOf(bytes, fields = {}) {
  const content = 'The quick brown fox jumps over the lazy dog.\n'.repeat(Math.ceil(bytes / 45)).slice(0, bytes);
  return Buffer.from(
    JSON.stringify({
      model: 'claude-3-haiku-20240307',
      max_tokens: 64,
      ...fields,
      messages: [{ role: 'user', content }],
    }),
  );
}

/** Measures one round: requests per second, CPU microseconds per request, latencies in milliseconds. */
export async function turn(
  contestant,
  { body, connections = 32, durationMs, rate, path = '/v1/messages', headers = {} },
) {
  const before = cpuMs(contestant);
  const all = { ...HEADERS, ...contestant.headers, ...headers };
  const { url } = contestant;
  const run = await load({ url, path: contestant.path ?? path, headers: all, body, connections, durationMs, rate });
  const { requests, failed, seconds, latenciesMs } = run;
  return {
    perSecond: requests / seconds,
    cpuUs: ((cpuMs(contestant) - before) * 1_000) / requests,
    p50: quantile(latenciesMs, 0.5),
    p99: quantile(latenciesMs, 0.99),
    requests,
    failed,
  };
}

/** Milliseconds of load before the first round. A server that is still compiling its code would be measured with it. */
const WARM_UP_MS = 5_000;

/** Measures every contestant in `rounds` interleaved rounds after a warm-up round. Returns the medians by name. */
export async function interleaved(contestants, { rounds, ...load }) {
  for (const contestant of contestants) await turn(contestant, { ...load, durationMs: WARM_UP_MS });
  const turns = new Map(contestants.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const contestant of contestants) turns.get(contestant.name).push(await turn(contestant, load));
  }
  const [first] = turns.values();
  return [...turns].map(([name, own]) => ({
    name,
    ...Object.fromEntries(['perSecond', 'cpuUs', 'p50', 'p99'].map((key) => [key, median(own.map((one) => one[key]))])),
    failed: own.reduce((sum, one) => sum + one.failed, 0),
    /** Median of the rounds' ratios to the first contestant. */
    share: median(own.map((one, round) => one.perSecond / first[round].perSecond)),
  }));
}

/** Prints aligned columns. */
export function table(title, headings, rows) {
  console.log(`\n${title}`);
  const widths = headings.map((heading, i) => Math.max(heading.length, ...rows.map((row) => row[i].length)));
  const line = (row) => row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('   ');
  for (const row of [headings, ...rows]) console.log(`  ${line(row)}`);
}

/** Returns the rows of a table of contestants. */
export function rowsOf(results) {
  return results.map(({ name, perSecond, share, cpuUs, p50, p99, failed }) => [
    ...[name, perSecond.toFixed(0), `${(share * 100).toFixed(0)} %`, cpuUs.toFixed(0)],
    ...[p50.toFixed(2), p99.toFixed(2), String(failed)],
  ]);
}

/** The headings of `rowsOf`. */
export const HEADINGS = ['', 'requests/s', 'of the first', 'CPU µs/request', 'p50 ms', 'p99 ms', 'failed'];
