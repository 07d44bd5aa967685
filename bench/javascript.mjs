// `npm run bench:javascript`: what the JavaScript half of a call costs. The native call is replaced by one that copies a
// recorded answer, so that the time is that of arguments, encoding, decoding and rules alone.
//   --against DIR  a package directory (with dist/ and build/) to take turns with; prints the ratios
//   --node PATH    the Node binary that runs both        --native  keeps the native call
//   --only NAME    one case                              --rounds N  turns of each (default 15)
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { traffic } from './traffic.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const { values: options } = parseArgs({
  options: {
    against: { type: 'string' },
    node: { type: 'string', default: process.execPath },
    native: { type: 'boolean', default: false },
    only: { type: 'string' },
    rounds: { type: 'string', default: '15' },
    measure: { type: 'string' },
  },
});
const CASES = ['filter', 'filter-plans', 'filter-random', 'shape', 'response', 'sse', 'observe'];
const WARM_UP = 40_000;
const BATCHES = 40;
/** Calls whose arguments are made before the clock starts: few enough to stay in the CPU's cache, as a server's are. */
const BATCH = 64;
const UPSTREAM = { kind: 'anthropic_direct', baseUrl: 'https://api.anthropic.com' };
const PLAN = { organizationType: 'team', rateLimitTier: 'tier_3', seatTier: 'standard' };

if (options.measure === undefined) await compare();
else await measure(options.measure);

async function compare() {
  const packages = options.against === undefined ? [root] : [options.against, root];
  for (const name of CASES.filter((each) => options.only === undefined || each === options.only)) {
    const contestants = packages.map((directory) => start(directory, name));
    const rounds = [];
    for (let round = 0; round < Number(options.rounds); round++) {
      const nanos = [];
      for (const { turn } of contestants) nanos.push(await turn());
      rounds.push(nanos);
    }
    for (const { end } of contestants) end();
    const times = packages.map((_, index) => median(rounds.map((nanos) => nanos[index])));
    const ratio = median(rounds.map((nanos) => nanos.at(-1) / nanos[0]));
    const before = packages.length === 1 ? '' : `${times[0].toFixed(0).padStart(7)} ns → `;
    const after = packages.length === 1 ? '' : `  × ${ratio.toFixed(3)}`;
    console.log(`${name.padEnd(18)} ${before}${times.at(-1).toFixed(0).padStart(7)} ns${after}`);
  }
}

function start(directory, name) {
  const flags = ['--measure', name, '--against', directory, ...(options.native ? ['--native'] : [])];
  const child = spawn(options.node, [fileURLToPath(import.meta.url), ...flags], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const turn = async () => {
    child.stdin.write('\n');
    const { value, done } = await lines.next();
    if (done) throw new Error(`${directory} ended in the middle of a run`);
    return Number(value);
  };
  return { turn, end: () => child.stdin.end() };
}

function median(numbers) {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
}

/** One process per package and case, so that no case shapes the machine code of another. */
async function measure(name) {
  const directory = `${options.against.replace(/\/$/, '')}/`;
  const library = await import(`${directory}dist/index.js`);
  const { prepare, call, record = call } = makeCase(library, name);
  if (!options.native) replayAnswers(directory, prepare(BATCH), record);
  for (let done = 0; done < WARM_UP; done += BATCH) run(prepare(BATCH), call);
  for await (const _ of createInterface({ input: process.stdin })) {
    let micros = 0;
    for (let i = 0; i < BATCHES; i++) micros += run(prepare(BATCH), call);
    console.log((micros * 1_000) / (BATCHES * BATCH));
  }
}

/** Microseconds of CPU time that the calls took: unlike the clock's, they do not count what else the machine does. */
function run(inputs, call) {
  const before = process.cpuUsage();
  for (const input of inputs) call(input);
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

/** Records the native call's answers to `inputs`, and from then on gives them in turn. */
function replayAnswers(directory, inputs, call) {
  const require = createRequire(`${directory}package.json`);
  const { prototype } = require(require('node-gyp-build').path(directory)).NativeModule;
  const original = prototype.call;
  const answers = [];
  prototype.call = function record(...parameters) {
    const result = original.apply(this, parameters);
    const [, scratch, start, head, tail] = parameters;
    if (typeof result !== 'number') throw new Error('the recorded answers have to be small ones');
    const at = start + head + tail;
    answers.push(new Uint8Array(scratch.subarray(at, at + result)));
    return result;
  };
  for (const input of inputs) call(input);
  let next = 0;
  prototype.call = (_hook, scratch, start, head, tail) => {
    const answer = answers[next];
    next = next + 1 === answers.length ? 0 : next + 1;
    scratch.set(answer, start + head + tail);
    return answer.length;
  };
}

/** What a case calls, and a function that makes so many inputs: strings and objects are new each time, as in a server. */
function makeCase(library, name) {
  const { SlotKey, WasmtimeRuntime, WasmtimeFilterPlugin, WasmtimeUpstreamDialect, WasmtimeObservabilityHook } =
    library;
  const runtime = new WasmtimeRuntime({ deadlineMs: 1_000 });
  const key = SlotKey.global('plugin');
  const register = (kind, file, at = key) =>
    runtime[`register${kind}`](at, file, readFileSync(`${root}test/plugins/wasm/${file}.wasm`));
  const ring = traffic({ bodyBytes: 1024 });
  const each = (make) => (count) => Array.from({ length: count }, (_, index) => make(ring[index % ring.length], index));
  switch (name) {
    case 'filter':
    case 'filter-plans':
    case 'filter-random': {
      // What the guest of the later PDK answers is unusually long, so its answers are those of the other one.
      const file = name === 'filter-plans' ? 'report-0-2-0' : 'cache-aware';
      const filter = new WasmtimeFilterPlugin(runtime, register('Filter', file));
      const recorded = new WasmtimeFilterPlugin(runtime, register('Filter', 'cache-aware', SlotKey.global('other')));
      const upstreams = ring[0].candidates.map((candidate) => ({ ...candidate, ...PLAN }));
      const asked = (index) => upstreams.map((upstream) => candidate(upstream, index));
      return {
        prepare: each(({ ctx, principal, candidates }, index) => ({
          ctx: freshContext(ctx),
          principal: freshPrincipal(principal),
          candidates: name === 'filter-random' ? candidates : asked(index),
        })),
        call: ({ ctx, principal, candidates }) => filter.filter(ctx, principal, candidates),
        record: ({ ctx, principal, candidates }) => recorded.filter(ctx, principal, candidates),
      };
    }
    case 'observe': {
      const hook = new WasmtimeObservabilityHook(runtime, register('Observe', 'lifecycle'));
      return {
        prepare: each(({ ctx }, index) =>
          (index & 1) === 0
            ? { type: 'request_started', requestId: fresh(ctx.requestId), downstreamUserAgent: 'claude-cli/1.0.80' }
            : { type: 'chunk', batchIndex: index, eventCount: 12, totalBytes: 4096 },
        ),
        call: (event) => hook.observe(event),
      };
    }
    default: {
      const file = name === 'shape' ? 'echo' : 'transforms';
      const dialect = new WasmtimeUpstreamDialect(runtime, register('Shape', file));
      if (name === 'shape') {
        return {
          prepare: each(({ ctx, principal }) => ({ ctx: freshContext(ctx), principal: freshPrincipal(principal) })),
          call: ({ ctx, principal }) => dialect.shape(ctx, UPSTREAM, principal),
        };
      }
      const exchange = ({ ctx, principal }) => ({
        ...{ requestId: fresh(ctx.requestId), principal: freshPrincipal(principal), upstream: UPSTREAM },
        ...{ requestMethod: ctx.method, requestPath: ctx.path, canonicalModelId: 'claude-3-haiku-20240307' },
        ...{ status: 200, headers: freshHeaders(ctx.headers) },
      });
      if (name === 'response') {
        return {
          prepare: each((request) => ({ ...exchange(request), body: request.ctx.body })),
          call: (input) => dialect.transformResponse(input),
        };
      }
      // A stream of 50 events: the exchange is the same for all of them.
      return {
        prepare: (count) => {
          const inputs = [];
          for (let stream = 0; inputs.length < count; stream++) {
            const context = exchange(ring[stream % ring.length]);
            for (let i = 0; i < 50 && inputs.length < count; i++) {
              const data = ring[i].ctx.body.subarray(0, 200);
              inputs.push({ ...context, event: { event: 'content_block_delta', data } });
            }
          }
          return inputs;
        },
        call: (input) => dialect.transformSseEvent(input),
      };
    }
  }
}

/** A copy in new memory, as a server's next request has it. */
function fresh(text) {
  return Buffer.from(text, 'latin1').latin1Slice();
}

function freshHeaders(headers) {
  return headers.map(([name, value]) => [fresh(name), fresh(value)]);
}

function freshContext({ requestId, method, path, query, headers, body }) {
  return {
    requestId: fresh(requestId),
    method,
    path: fresh(path),
    query: fresh(query),
    headers: freshHeaders(headers),
    body,
  };
}

function freshPrincipal({ id, kind, claims: { keep, plan } }) {
  return { id: fresh(id), kind, claims: { keep, plan: fresh(plan) } };
}

/** A candidate as a load balancer makes it: from its list of upstreams, with the request's own numbers. */
function candidate({ upstreamId, name, kind, observedAtUnixSecs, organizationType, rateLimitTier, seatTier }, index) {
  return {
    upstreamId,
    name,
    kind,
    observedAtUnixSecs,
    predictedCacheReadTokens: index,
    predictedUncachedInputTokens: 40,
    planCapacityRatio: 0.5 + index,
    organizationType,
    rateLimitTier,
    seatTier,
  };
}
