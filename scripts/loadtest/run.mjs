// `npm run loadtest`: measures a bare node:http + undici proxy and this load balancer alternately with one upstream.
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { compileLoadBalancer } from '../load-balancer.mjs';
import { setUp } from '../setup.mjs';
import { draw } from './chart.mjs';
import { startScript } from './contestants.mjs';
import { events, gateways, halfLoad, requests, soak, streams, swaps, workers } from './sections.mjs';

const USAGE = `npm run loadtest -- [options]
  --rounds N     rounds of each (5)
  --seconds N    length of a round (2)
  --only NAME    one section: requests, streams, half-load, events, workers, swaps, gateways, soak
  --gateways     also measures other gateways, which are installed into a temporary folder
  --soak N       measures resident memory over N requests
  --help         prints this text`;

const { values } = parseArgs({
  options: {
    help: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '2' },
    only: { type: 'string' },
    gateways: { type: 'boolean', default: false },
    soak: { type: 'string' },
  },
});
if (values.help) {
  console.log(USAGE);
  process.exit(0);
}
const sections = { requests, streams, 'half-load': halfLoad, events, workers, swaps, gateways, soak };
if (values.only !== undefined && !Object.hasOwn(sections, values.only)) {
  console.error(`--only: expected one of ${Object.keys(sections).join(', ')}`);
  process.exit(2);
}
const options = {
  rounds: Number(values.rounds),
  durationMs: Number(values.seconds) * 1_000,
  soakRequests: Number(values.soak ?? 1_000_000),
};
const root = fileURLToPath(new URL('../../', import.meta.url));
const output = `${root}build/loadtest/`;

setUp('dist');
compileLoadBalancer();

const machine = `${cpus().length} × ${cpus()[0].model}, Node ${process.version}, ${process.platform}-${process.arch}`;
console.log(machine);
const upstream = await startScript('upstream', 'upstream.mjs');
const onRequest = { gateways: values.gateways, soak: values.soak !== undefined };
const results = {};
for (const [name, section] of Object.entries(sections)) {
  const isWanted = values.only === undefined ? (onRequest[name] ?? true) : values.only === name;
  if (isWanted) results[name] = await section(upstream, options);
}
upstream.close();

mkdirSync(output, { recursive: true });
writeFileSync(`${output}loadtest.json`, JSON.stringify({ machine, ...options, results }, null, 2));
if (results.requests !== undefined) writeFileSync(`${output}loadtest.svg`, draw(results.requests, machine));
console.log(`\nwrote ${output}loadtest.json`);
