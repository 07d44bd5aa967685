// `npm run bench:javascript`: measures the JavaScript part of a call. The native call is replaced by one that copies a
// recorded answer, so that only arguments, encoding, decoding and rules are measured.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { median } from './statistics.mjs';
import { eventInputs, observeEvents, principals, requests, responseInput, streamEvents } from './traffic.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const CASES = ['filter', 'filter-plans', 'shape', 'response', 'sse', 'observe'];
const USAGE = `npm run bench:javascript -- [options]
  --against DIR  another build of this package: a folder with dist/ and build/; prints the ratios to it
  --only NAME    one of ${CASES.join(', ')}
  --rounds N     rounds of each case (15)
  --node PATH    the Node binary that runs the measured code (this one)
  --native       keeps the native call`;
const { values: options } = parseArgs({
  options: {
    against: { type: 'string' },
    node: { type: 'string', default: process.execPath },
    native: { type: 'boolean', default: false },
    only: { type: 'string' },
    rounds: { type: 'string', default: '15' },
    help: { type: 'boolean', default: false },
    // For the processes that this script starts.
    measure: { type: 'string' },
  },
});
const WARM_UP = 60_000;
const CALLS = 2_560;
const PRINCIPALS = 16;
const EVENTS_OF_A_STREAM = 50;

if (options.help) console.log(USAGE);
else if (options.measure === undefined) await compare();
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

/** One process per package and case, so that no case shapes the machine code of another. */
async function measure(name) {
  const directory = `${options.against.replace(/\/$/, '')}/`;
  const library = await import(`${directory}dist/index.js`);
  const { inputs, call, record = call } = makeCase(library, name);
  if (!options.native) replayAnswers(directory, inputs, record);
  let next = 0;
  const run = (count) => {
    const before = process.cpuUsage();
    for (let i = 0; i < count; i++) call(inputs[next++ % inputs.length]);
    const { user, system } = process.cpuUsage(before);
    return ((user + system) * 1_000) / count;
  };
  run(WARM_UP);
  for await (const _ of createInterface({ input: process.stdin })) console.log(run(CALLS));
}

/** Records the native call's answers to `inputs`, and then replays them in turn. */
function replayAnswers(directory, inputs, call) {
  const require = createRequire(`${directory}package.json`);
  const native = require(require('node-gyp-build').path(directory));
  const { callHook } = native;
  const answers = [];
  native.callHook = (scratch, body) => {
    const result = callHook(scratch, body);
    if (typeof result !== 'number') throw new Error('the recorded answers have to be small ones');
    const at = endOfRequest(scratch);
    answers.push(new Uint8Array(scratch.subarray(at, at + result)));
    return result;
  };
  for (const input of inputs) call(input);
  let next = 0;
  native.callHook = (scratch) => {
    const answer = answers[next];
    next = next + 1 === answers.length ? 0 : next + 1;
    scratch.set(answer, endOfRequest(scratch));
    return answer.length;
  };
}

/** The answer follows the request; the offsets are those of the header, see native/binding/src/call.rs. */
function endOfRequest(scratch) {
  const [start, head, tail] = new Uint32Array(scratch.buffer, scratch.byteOffset + 28, 3);
  return start + head + tail;
}

/** What a case calls, and its inputs. */
function makeCase(library, name) {
  const { SlotKey, WasmtimeRuntime, WasmtimeFilterPlugin, WasmtimeUpstreamDialect, WasmtimeObservabilityHook } =
    library;
  const runtime = new WasmtimeRuntime({ deadlineMs: 1_000 });
  const register = (kind, file, key = SlotKey.global('plugin')) =>
    runtime[`register${kind}`](key, file, readFileSync(`${root}test/plugins/wasm/${file}.wasm`));
  const callers = principals(PRINCIPALS);
  const traffic = requests(1024).map((request, index) => ({ ...request, principal: callers[index % PRINCIPALS] }));
  switch (name) {
    case 'filter': {
      const filter = new WasmtimeFilterPlugin(runtime, register('Filter', 'cache-aware'));
      const call = ({ ctx, principal, candidates }) => filter.filter(ctx, principal, candidates);
      return { inputs: traffic, call };
    }
    case 'filter-plans': {
      const filter = new WasmtimeFilterPlugin(runtime, register('Filter', 'report-0-2-0'));
      // What the guest of the later PDK answers is unusually long, so the answers are those of another one.
      const other = new WasmtimeFilterPlugin(runtime, register('Filter', 'cache-aware', SlotKey.global('other')));
      const inputs = traffic.map((request) => ({
        ...request,
        candidates: request.candidates.map(withPlan),
      }));
      const call = ({ ctx, principal, candidates }) => filter.filter(ctx, principal, candidates);
      return { inputs, call, record: ({ ctx, principal, candidates }) => other.filter(ctx, principal, candidates) };
    }
    case 'shape': {
      const dialect = new WasmtimeUpstreamDialect(runtime, register('Shape', 'echo'));
      const call = ({ ctx, upstream, principal }) => dialect.shape(ctx, upstream, principal);
      return { inputs: traffic, call };
    }
    case 'observe': {
      const hook = new WasmtimeObservabilityHook(runtime, register('Observe', 'lifecycle'));
      const inputs = traffic.flatMap((request) => observeEvents(request, request.principal));
      return { inputs, call: (event) => hook.observe(event) };
    }
    case 'response': {
      const dialect = new WasmtimeUpstreamDialect(runtime, register('Shape', 'transforms'));
      const principal = ({ id, kind }) => ({ id, kind, claims: { plan: 'team' } });
      const inputs = traffic.map((request) => responseInput(request, principal(request.principal)));
      return { inputs, call: (input) => dialect.transformResponse(input) };
    }
    case 'sse': {
      const dialect = new WasmtimeUpstreamDialect(runtime, register('Shape', 'transforms'));
      const events = streamEvents(EVENTS_OF_A_STREAM);
      const inputs = traffic.slice(0, 16).flatMap((request) => eventInputs(request, request.principal, events));
      return { inputs, call: (input) => dialect.transformSseEvent(input) };
    }
    default:
      throw new Error(`unknown case ${name}`);
  }
}

function withPlan({ upstreamId, name, kind, observedAtUnixSecs, predictedCacheReadTokens }) {
  return {
    upstreamId,
    name,
    kind,
    observedAtUnixSecs,
    predictedCacheReadTokens,
    predictedUncachedInputTokens: 40,
    planCapacityRatio: 0.5,
    organizationType: 'team',
    rateLimitTier: 'tier_3',
    seatTier: 'standard',
  };
}
