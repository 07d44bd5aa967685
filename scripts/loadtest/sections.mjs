// The sections of the load test. Each function starts its contestants, prints a table and returns the figures.
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { median } from '../../bench/statistics.mjs';
import { quantile } from './client.mjs';
import { apart, HEADERS, PLUGIN_SETS, residentBytes, startBalancer, startScript } from './contestants.mjs';
import { gaps } from './event-gaps.mjs';
import { startGateways } from './gateways.mjs';
import { bodyOf, HEADINGS, interleaved, rowsOf, table, turn } from './measure.mjs';

const SIZES = [
  { label: '4 KB', bytes: 4_000, connections: 32 },
  { label: '400 KB', bytes: 400_000, connections: 8 },
  { label: '1.2 MB', bytes: 1_200_000, connections: 8 },
];
const STREAM = { stream: true };
const SWAPS = 100;
const EVENTS = 4_000;
const wasm = fileURLToPath(new URL('../../test/plugins/wasm/', import.meta.url));

/** Complete answers of 1 KB for each size of request, with an increasing number of plugins. */
export async function requests(upstream, { rounds, durationMs }) {
  const contestants = await balancers(upstream, ['none', 'filter + shape', 'filter + shape + observe']);
  const results = [];
  for (const { label, bytes, connections } of SIZES) {
    const rows = await interleaved(contestants, { body: bodyOf(bytes), connections, rounds, durationMs });
    table(`Requests of ${label}`, HEADINGS, rowsOf(rows));
    results.push({ label, rows });
  }
  await closeAll(contestants);
  return results;
}

/** Streamed answers of 40 events without pauses. */
export async function streams(upstream, { rounds, durationMs }) {
  const contestants = await balancers(upstream, ['none', 'filter + shape + observe', 'transform']);
  const rows = await interleaved(contestants, { body: bodyOf(4_000, STREAM), rounds, durationMs });
  table('Streams of 40 events', HEADINGS, rowsOf(rows));
  await closeAll(contestants);
  return rows;
}

/**
 * Latencies and CPU time at one rate for all, half of the maximum rate with plugins. At their own maximum rates, the CPU
 * times of fast and slow contestants are not comparable: the more requests arrive together, the less each costs.
 */
export async function halfLoad(upstream, { rounds, durationMs }) {
  const contestants = await balancers(upstream, ['none', 'filter + shape', 'filter + shape + observe']);
  const body = bodyOf(4_000);
  const { rate, rows } = await apart(contestants, upstream, async () => {
    for (const contestant of contestants) await turn(contestant, { body, durationMs: 2 * durationMs });
    const { perSecond } = await turn(contestants.at(-1), { body, durationMs });
    const rate = Math.round(perSecond / 2);
    return { rate, rows: await interleaved(contestants, { body, rate, rounds, durationMs }) };
  });
  table(`Half load: ${rate} requests/s`, HEADINGS, rowsOf(rows));
  await closeAll(contestants);
  return { rate, rows };
}

/** The time between the events of a long stream that are sent every millisecond. */
export async function events(upstream, { rounds }) {
  const contestants = await balancers(upstream, ['none', 'transform']);
  const taken = new Map(contestants.map(({ name }) => [name, []]));
  const stream = { count: EVENTS, gapMs: 1 };
  await apart(contestants, upstream, async () => {
    // A server compiles its code during its first streams.
    for (let round = 0; round < 2; round++) for (const contestant of contestants) await gaps(contestant, stream);
    for (let round = 0; round < rounds; round++) {
      for (const contestant of contestants) taken.get(contestant.name).push(await gaps(contestant, stream));
    }
  });
  const rows = [...taken].map(([name, runs]) => ({
    name,
    p50: median(runs.map((run) => quantile(run, 0.5))),
    p99: median(runs.map((run) => quantile(run, 0.99))),
  }));
  const cells = rows.map(({ name, p50, p99 }) => [name, p50.toFixed(3), p99.toFixed(3)]);
  table(`Time between the events of a stream of ${EVENTS}`, ['', 'p50 ms', 'p99 ms'], cells);
  await closeAll(contestants);
  return rows;
}

/** One worker and two. */
export async function workers(upstream, { rounds, durationMs }) {
  const plugins = PLUGIN_SETS['filter + shape'];
  const contestants = [
    await startBalancer('1 worker', upstream.url, { plugins }),
    await startBalancer('2 workers', upstream.url, { plugins, workers: 2 }),
  ];
  const rows = await interleaved(contestants, { body: bodyOf(4_000), rounds, durationMs });
  table('Workers, with filter + shape', HEADINGS, rowsOf(rows));
  await closeAll(contestants);
  return rows;
}

/** Swaps of the filter under load: their number, and failed requests. */
export async function swaps(upstream) {
  const folder = mkdtempSync(join(tmpdir(), 'loadtest-plugins-'));
  const put = (version) => copyFileSync(`${wasm}${version}.wasm`, join(folder, 'cache-aware.wasm'));
  put('cache-aware');
  const balancer = await startBalancer('2 workers', upstream.url, { workers: 2, folder });
  const committed = async () => {
    const text = await (await fetch(`${balancer.admin}/metrics`)).text();
    return Number(/cc_lb_swaps_total\{outcome="committed"\} (\d+)/.exec(text)?.[1] ?? 0);
  };
  const first = await committed();
  let isFinished = false;
  let total = { requests: 0, failed: 0 };
  const loaded = (async () => {
    while (!isFinished) {
      const { requests, failed } = await turn(balancer, { body: bodyOf(4_000), durationMs: 2_000 });
      total = { requests: total.requests + requests, failed: total.failed + failed };
    }
  })();
  for (let swap = 1; swap <= SWAPS; swap++) {
    put(swap % 2 === 0 ? 'cache-aware' : 'cache-aware-v2');
    while ((await committed()) < first + swap) await delay(10);
  }
  isFinished = true;
  await loaded;
  table(
    'Swaps under load',
    ['swaps', 'requests', 'failed'],
    [[String(SWAPS), String(total.requests), String(total.failed)]],
  );
  await balancer.close();
  rmSync(folder, { recursive: true });
  return { swaps: SWAPS, ...total };
}

/** Other gateways with the same upstream, and this one with plugins. */
export async function gateways(upstream, { rounds, durationMs }) {
  const others = await startGateways(upstream);
  const plugins = PLUGIN_SETS['filter + shape + observe'];
  const contestants = [...others, await startBalancer('this one, filter + shape + observe', upstream.url, { plugins })];
  const results = [];
  for (const fields of [{}, STREAM]) {
    for (const { label, bytes, connections } of SIZES) {
      const load = { body: bodyOf(bytes, fields), connections, rounds, durationMs };
      const able = [];
      for (const contestant of contestants) if (await isAble(contestant, load.body)) able.push(contestant);
      const rows = await interleaved(able, load);
      const title = `${fields === STREAM ? 'Streams of 40 events' : 'Whole answers'}, requests of ${label}`;
      table(title, HEADINGS, rowsOf(rows));
      results.push({ label, isStream: fields === STREAM, rows });
    }
  }
  await closeAll(contestants);
  return results;
}

/** Resident memory over many requests. */
export async function soak(upstream, { soakRequests }) {
  const balancer = await startBalancer('1 worker', upstream.url, { plugins: PLUGIN_SETS['filter + shape + observe'] });
  const rows = [];
  for (let done = 0; done < soakRequests; ) {
    const { requests } = await turn(balancer, { body: bodyOf(4_000), durationMs: 10_000 });
    done += requests;
    rows.push({ requests: done, residentBytes: residentBytes(balancer) });
  }
  const step = Math.max(1, Math.floor(rows.length / 10));
  const shown = rows.filter((_, index) => index % step === 0 || index === rows.length - 1);
  const cells = shown.map((row) => [String(row.requests), (row.residentBytes / 2 ** 20).toFixed(0)]);
  table('Resident memory', ['requests so far', 'MiB'], cells);
  await balancer.close();
  return rows;
}

/** Whether a contestant answers such a request. */
async function isAble(contestant, body) {
  const headers = { 'content-type': 'application/json', ...HEADERS, ...contestant.headers };
  const answer = await fetch(`${contestant.url}/v1/messages`, { method: 'POST', headers, body });
  await answer.arrayBuffer();
  if (!answer.ok) console.log(`${contestant.name} is left out: it answers such a request with ${answer.status}`);
  return answer.ok;
}

async function balancers(upstream, sets) {
  const contestants = [await startScript('bare proxy', 'bare-proxy.mjs', [upstream.url])];
  for (const set of sets) {
    contestants.push(await startBalancer(`balancer, ${set}`, upstream.url, { plugins: PLUGIN_SETS[set] }));
  }
  return contestants;
}

async function closeAll(contestants) {
  for (const contestant of contestants) await contestant.close();
}
