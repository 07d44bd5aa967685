// Measures the codec with a filter request of 1 KiB with 8 candidates and its answer, compared with rkyv from strings
// to strings and with the same step of a Rust host, from and to its own types: node bench/codec.mjs
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const SAMPLES = 301;
const PER_SAMPLE = 200;
const WARM_UP = 30_000;

const root = fileURLToPath(new URL('..', import.meta.url));
const oracle = `${root}test/oracle/`;

function run(command, args, options = {}) {
  const done = spawnSync(command, args, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
    ...options,
  });
  if (done.status !== 0) throw new Error(`${command} ${args.join(' ')} failed`);
  return done.stdout;
}

run('cargo', ['build', '--quiet', '--release', '--locked', '--ignore-rust-version'], { cwd: oracle });
run(process.execPath, [`${root}node_modules/typescript/bin/tsc`, '-p', 'test/wire/fuzz/tsconfig.json']);
const wire = `${root}build/fuzz/src/wire`;
const { encodeRequest } = await import(`${wire}/encode.js`);
const { decodeAnswer } = await import(`${wire}/decode.js`);
const { HeapScratch } = await import(`${wire}/scratch.js`);
const { filterRequestBase, filterRequestTiered, filterResponse } = await import(`${wire}/messages/filter.js`);

const header = (name, value) => [name, value];
const request = {
  requestId: 'req_011CSHoEeqs5C35K2UUqR7Fy',
  threadId: 'thread_01',
  serviceTier: 'priority',
  canonicalModelId: 'claude-3-haiku-20240307',
  cachePricing: {
    status: 'known',
    inputMicrosPerMillion: 250_000,
    cacheCreation5mMicrosPerMillion: 300_000,
    cacheReadMicrosPerMillion: 30_000,
  },
  method: 'POST',
  path: '/v1/messages',
  query: 'beta=true',
  headers: [
    header('accept', 'application/json'),
    header('accept-encoding', 'gzip, deflate, br'),
    header('anthropic-beta', 'prompt-caching-2024-07-31'),
    header('anthropic-version', '2023-06-01'),
    header('content-type', 'application/json'),
    header('user-agent', 'claude-cli/1.0.80 (external, cli)'),
    header('x-app', 'cli'),
    header('x-forwarded-for', '203.0.113.7'),
    header('x-request-id', '0190f2f6-5c0e-7c60-9c0a-6d8f3f2b1a00'),
    header('x-stainless-lang', 'js'),
  ].flat(),
  body: new Uint8Array(1024).fill(0x78),
  principal: { id: 'team-42', kind: 'api_key', claims: ['plan', '"team"', 'seats', '25'] },
  candidates: Array.from({ length: 8 }, (_, index) => ({
    upstreamId: `0190f2f6-5c0e-7c60-9c0a-6d8f3f2b1a${index.toString(16).padStart(2, '0')}`,
    name: `upstream-${index}`,
    kind: 'anthropic_direct',
    observedAtUnixSecs: 1_760_000_000,
    predictedCacheReadTokens: 1_200,
    predictedCacheCreationTokens5m: 300,
    predictedCacheCreationTokens1h: 0,
    predictedUncachedInputTokens: 40,
    planCapacityRatio: 0.75,
    organizationType: 'team',
    rateLimitTier: 'tier_3',
    seatTier: 'standard',
  })),
};

function medianNanos(step) {
  for (let i = 0; i < WARM_UP; i++) step();
  const samples = Array.from({ length: SAMPLES }, () => {
    const started = process.hrtime.bigint();
    for (let i = 0; i < PER_SAMPLE; i++) step();
    return Number(process.hrtime.bigint() - started) / PER_SAMPLE;
  });
  samples.sort((left, right) => left - right);
  return samples[SAMPLES >> 1];
}

const rust = JSON.parse(run(`${oracle}target/release/cc-lb-wire-oracle`, ['bench']));
const answer = Buffer.from(rust.answer, 'hex');
const scratch = new HeapScratch(65_536, 16);
const steps = {
  encodeBase: () => encodeRequest(filterRequestBase, request, scratch),
  encodeTiered: () => encodeRequest(filterRequestTiered, request, scratch),
  decode: () => decodeAnswer(filterResponse, { bytes: answer, start: 0, end: answer.length, leased: false }),
};
for (const [name, message] of Object.entries({ base: filterRequestBase, tiered: filterRequestTiered })) {
  encodeRequest(message, request, scratch);
  if (Buffer.from(scratch.message()).toString('hex') !== rust[name]) throw new Error(`${name}: not rkyv's bytes`);
}
const inHost = { encodeBase: rust.hostEncode, decode: rust.hostDecode };
console.log('median ns        codec   rkyv alone        Rust host');
for (const [name, step] of Object.entries(steps)) {
  const nanos = medianNanos(step);
  const comparedWith = (other) =>
    other === undefined ? '' : `${String(other).padStart(9)} (× ${(nanos / other).toFixed(2)})`;
  console.log(
    `${name.padEnd(14)} ${nanos.toFixed(0).padStart(7)} ${comparedWith(rust[name])} ${comparedWith(inHost[name])}`,
  );
}
