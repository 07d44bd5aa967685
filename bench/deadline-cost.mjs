// `npm run bench:deadline`: measures the cost of deadlines for the real plugins at 1 KiB, alternating in one process.
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { setUp } from '../scripts/setup.mjs';
import { buildExample } from './example.mjs';
import { buildParts, part } from './parts.mjs';
import { requests } from './traffic.mjs';

const ROUNDS = 15;
const root = fileURLToPath(new URL('..', import.meta.url));

setUp();
buildParts();
const program = buildExample('deadline_cost');
const { encodeRequest } = await part('wire/encode');
const { HeapScratch } = await part('wire/scratch');
const { SCHEMAS } = await part('wire/schemas');
const [{ ctx, candidates, upstream }] = requests(1024);
const principal = { id: 'p', kind: 'api_key', claims: ['keep', '1'] };
const common = { ...ctx, headers: ctx.headers.flat(), principal };
mkdirSync(`${root}build/bench`, { recursive: true });
for (const [step, guest, request] of [
  ['filter', 'cache-aware', { ...common, candidates }],
  ['shape', 'echo', { ...common, upstream }],
]) {
  const file = `${root}build/bench/${step}.bin`;
  const scratch = new HeapScratch();
  encodeRequest(SCHEMAS[step][0].request, request, scratch);
  writeFileSync(file, scratch.message());
  const { stdout } = spawnSync(program, [`test/plugins/wasm/${guest}.wasm`, `cc_lb_${step}`, file, `${ROUNDS}`], {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [on, off, insideOn, insideOff] = stdout
    .trim()
    .split(' ')
    .map((nanos) => Number(nanos) / 1000);
  const percent = (a, b) => `${((a / b - 1) * 100).toFixed(1)} %`;
  console.log(
    `${step} 1 KiB (${guest}): a call ${on.toFixed(2)} µs with deadlines, ${off.toFixed(2)} µs without: ${percent(on, off)}; ` +
      `the guest alone ${insideOn.toFixed(2)} and ${insideOff.toFixed(2)} µs: ${percent(insideOn, insideOff)}`,
  );
}
