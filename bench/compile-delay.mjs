// `npm run bench:compile-delay -- [--resident-mib N]`: measures how long compile processes delay calls on the event loop of a
// process with much resident memory, which a fork would have to copy the page tables of.
import { readFileSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { setUp } from '../scripts/setup.mjs';
import { moduleOf } from './modules.mjs';
import { principals, requests } from './traffic.mjs';

const { values } = parseArgs({ options: { 'resident-mib': { type: 'string', default: '4096' } } });
const ROUNDS = 8;
const ADMISSIONS = 5;
const BLOCK_MIB = 64;

setUp();
const { admitWasmAsync, SlotKey, WasmtimeFilterPlugin, WasmtimeRuntime } = await import('../dist/index.js');
// Without an idle process, each admission starts one.
const runtime = new WasmtimeRuntime({ compileSpareMs: 0 });
const plugin = moduleOf('cache-aware', 'plain', 0);
const filter = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(SlotKey.global('f'), 'f', plugin));
const [principal] = principals(1);
const [{ ctx, candidates }] = requests(1024);

const count = Math.ceil(Number(values['resident-mib']) / BLOCK_MIB);
const resident = Array.from({ length: count }, () => Buffer.alloc(BLOCK_MIB * 2 ** 20, 1));

/** Calls in each turn of the event loop until `work` has ended. Returns the times between the ends of calls, in ms. */
async function gapsDuring(work) {
  let running = true;
  const ended = work().finally(() => {
    running = false;
  });
  const gaps = [];
  let last = performance.now();
  while (running) {
    filter.filter(ctx, principal, candidates);
    const now = performance.now();
    gaps.push(now - last);
    last = now;
    await turn();
  }
  await ended;
  return gaps;
}

let made = 0;
/** A module of new content: an empty custom section with a new name is appended. */
function unique() {
  const name = Buffer.from(`delay-${made++}`);
  return Buffer.concat([plugin, Buffer.from([0, name.length + 1, name.length]), name]);
}

async function compile() {
  for (let admission = 0; admission < ADMISSIONS; admission++) await admitWasmAsync(runtime, unique());
}

/** Gaps without and with compile processes, in alternation. */
const gaps = { without: [], with: [] };
await gapsDuring(compile);
for (let round = 0; round < ROUNDS; round++) {
  const began = performance.now();
  gaps.with = gaps.with.concat(await gapsDuring(compile));
  const ms = performance.now() - began;
  gaps.without = gaps.without.concat(await gapsDuring(() => new Promise((resolve) => setTimeout(resolve, ms))));
}
const [, rss] = /VmRSS:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
console.log(
  `${Math.round(rss / 1024)} MiB resident, ${ROUNDS * ADMISSIONS} compile processes, ${resident.length} blocks`,
);
console.log(
  'time from the end of a call to the end of the next, ms\ncompile       calls     p50   p99.9  p99.99    max',
);
for (const [name, list] of Object.entries(gaps)) {
  const sorted = list.toSorted((a, b) => a - b);
  const at = (part) => sorted[Math.floor((sorted.length - 1) * part)].toFixed(3).padStart(8);
  console.log(`${name.padEnd(8)}${String(list.length).padStart(11)}${[0.5, 0.999, 0.9999, 1].map(at).join('')}`);
}
runtime.close();
