// `npm run bench:call-path`: compares an inline call from JavaScript with an encoded request to the same native call
// path from Rust. Both run alternately; the figure is the median of the rounds' ratios.
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { setUp } from '../scripts/setup.mjs';
import { buildExample } from './example.mjs';
import { buildParts, part } from './parts.mjs';
import { requests } from './traffic.mjs';

const ROUNDS = 15;
const ITERATIONS = 4_000;
const root = fileURLToPath(new URL('..', import.meta.url));
const guest = `${root}test/plugins/wasm/cache-aware.wasm`;
const requestFile = `${root}build/bench/request.bin`;

setUp();
buildParts();
const program = buildExample('call_path');

const { SlotKey, WasmtimeRuntime, productionHotEngineConfig } = await import('../dist/index.js');
const { encodeRequest } = await part('wire/encode');
const { HeapScratch } = await part('wire/scratch');
const { SCHEMAS } = await part('wire/schemas');
const [{ ctx, candidates }] = requests(1024);
const scratch = new HeapScratch();
const principal = { id: 'p', kind: 'api_key', claims: ['keep', '1'] };
encodeRequest(SCHEMAS.filter[0].request, { ...ctx, headers: ctx.headers.flat(), principal, candidates }, scratch);
const request = scratch.message();
mkdirSync(`${root}build/bench`, { recursive: true });
writeFileSync(requestFile, request);

const rust = spawn(program, { stdio: ['pipe', 'pipe', 'inherit'] });
const lines = createInterface({ input: rust.stdout })[Symbol.asyncIterator]();
for (const allocationStrategy of ['on-demand', 'pooling']) {
  const runtime = new WasmtimeRuntime({ ...productionHotEngineConfig(), allocationStrategy });
  const key = SlotKey.global('filter');
  runtime.registerFilter(key, 'filter', readFileSync(guest));
  const rounds = [];
  for (let round = 0; round < ROUNDS; round++) {
    rust.stdin.write(`${Number(allocationStrategy === 'pooling')} ${ITERATIONS} ${guest} ${requestFile}\n`);
    const native = Number((await lines.next()).value) / 1000;
    const micros = new Float64Array(ITERATIONS);
    for (let index = 0; index < ITERATIONS; index++) {
      const began = performance.now();
      runtime.callFilter(key, request);
      micros[index] = (performance.now() - began) * 1000;
    }
    micros.sort();
    const ours = micros[ITERATIONS / 2];
    rounds.push({ native, ours, ratio: ours / native });
  }
  rounds.sort((a, b) => a.ratio - b.ratio);
  const { native, ours, ratio } = rounds[Math.floor(ROUNDS / 2)];
  console.log(
    `${allocationStrategy.padEnd(10)} Rust ${native.toFixed(1)} µs, JavaScript ${ours.toFixed(1)} µs: ${ratio.toFixed(2)} ×`,
  );
  runtime.close();
}
rust.stdin.end();
