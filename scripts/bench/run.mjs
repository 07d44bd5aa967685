// `npm run bench`: the Rust original, V8 with a fresh instance and this package take turns in one run; ratios first.
//   --rounds N   turns of each (default 5)     --quick   1 KiB and 64 KiB alone
//   --only NAME  one config     --step NAME  filter or shape     --size '1 MiB'  one size
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { setUp } from '../setup.mjs';
import { buildPeer, contestants } from './contestants.mjs';
import { buildParts } from './parts.mjs';
import { CONFIGS, goal, SIZES, STEADY_RATE, STEPS } from './scenarios.mjs';
import { draw } from './svg.mjs';

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    step: { type: 'string' },
    size: { type: 'string' },
  },
});
const rounds = Number(options.rounds);
const configs = CONFIGS.filter(({ name }) => options.only === undefined || name === options.only);
const sizes = (options.quick ? SIZES.slice(0, 2) : SIZES).filter(
  ({ label }) => options.size === undefined || label === options.size,
);
const steps = STEPS.filter((step) => options.step === undefined || step === options.step);
const output = fileURLToPath(new URL('../../build/bench/', import.meta.url));

setUp();
buildParts();
buildPeer();
const machine = `${cpus().length} × ${cpus()[0].model}, Node ${process.version}, ${process.platform}-${process.arch}`;
console.log(machine);
const all = await contestants();
const cells = [];
for (const step of steps)
  for (const size of sizes) for (const config of configs) cells.push(await cell(step, size, config));
table(cells);
// The rest stands on the 1 KiB cells.
const whole = sizes.includes(SIZES[0]);
const tail = whole ? await openLoop() : [];
const scaling = whole ? { workers: await workers(), slots: await slots() } : null;
const where = whole ? await threads() : [];
for (const contestant of Object.values(all)) contestant.close();

mkdirSync(output, { recursive: true });
writeFileSync(`${output}bench.json`, JSON.stringify({ machine, rounds, cells, tail, scaling, where }, null, 2));
writeFileSync(`${output}bench.svg`, draw(cells, machine));
console.log(`\nwrote ${output}bench.json and bench.svg`);

/** One cell of the table: every contestant in turn, `rounds` times, and the median of the rounds' ratios. */
async function cell(step, size, config) {
  const { bodyBytes, iterations, warmup } = size;
  const steady = config.name === 'low-latency' && bodyBytes === 1024;
  const common = { step, bodyBytes, iterations, candidates: 8 };
  if (steady) common.openLoopRate = STEADY_RATE;
  const taken = [];
  for (let round = 0; round < rounds; round++) {
    const first = round === 0 ? { warmup } : { warmup: Math.ceil(warmup / 10) };
    const rust = await all.rust.measure({ ...common, ...first, strategy: config.against });
    const ours = await all.ours.measure({ ...common, ...first, config: config.name });
    const v8 = await all.v8.measure({ ...common, ...first, engine: 'v8' });
    taken.push({ rust, ours, v8 });
  }
  const ratio = median(taken.map(({ rust, ours }) => ours.p50Us / rust.p50Us));
  const cpuRatio = steady ? null : median(taken.map(({ rust, ours }) => ours.cpuUsPerCall / rust.cpuUsPerCall));
  const result = {
    ...{ step, size: size.label, config: config.name, against: config.against, ratio, cpuRatio, steady },
    goal: goal(config.name, size.label, step) ?? null,
    rust: middle(taken, 'rust'),
    ours: middle(taken, 'ours'),
    v8: middle(taken, 'v8'),
  };
  const mark = result.goal === null ? '' : ratio <= result.goal ? ' ✓' : ` (goal ${result.goal})`;
  console.log(`${step} ${size.label} ${config.name}: ${ratio.toFixed(2)} ×${mark}`);
  return result;
}

function middle(taken, who) {
  const names = ['p50Us', 'p99Us', 'callsPerSecond', 'loopUsPerCall', 'cpuUsPerCall', 'peakRssKiB'];
  return Object.fromEntries(
    names.map((name) => {
      const numbers = taken.map((round) => round[who][name]).filter(Number.isFinite);
      return [name, numbers.length === 0 ? null : median(numbers)];
    }),
  );
}

function median(numbers) {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
}

function table(rows) {
  const format = (value, digits = 1) => (value === null ? '–' : value.toFixed(digits));
  console.log(
    '\nratio = ours / Rust original, typed call to typed answer, median of rounds; times in µs\n' +
      'step   size    config       ratio  goal   CPU ×  ours p50   p99     loop   CPU    Rust p50  p99     V8 p50',
  );
  for (const { step, size, config, ratio, goal: target, cpuRatio, ours, rust, v8 } of rows) {
    console.log(
      [
        step.padEnd(6),
        size.padEnd(7),
        config.padEnd(12),
        format(ratio, 2).padEnd(6),
        format(target, 2).padEnd(6),
        format(cpuRatio, 2).padEnd(6),
        ...[ours.p50Us, ours.p99Us, ours.loopUsPerCall, ours.cpuUsPerCall].map((value) => format(value).padEnd(8)),
        ...[rust.p50Us, rust.p99Us, v8.p50Us].map((value) => format(value).padEnd(8)),
      ].join(' '),
    );
  }
}

/** At half of the closed loop's rate, with calls that arrive whether or not the one before has ended. */
async function openLoop() {
  console.log('\nopen loop at half of the closed rate, 1 KiB, filter');
  const results = [];
  for (const { name } of configs) {
    const closed = cells.find(({ config, size, step }) => config === name && size === '1 KiB' && step === steps[0]);
    const openLoopRate = name === 'low-latency' ? STEADY_RATE : Math.floor(closed.ours.callsPerSecond / 2);
    const command = { step: steps[0], config: name, bodyBytes: 1024, iterations: 20_000, warmup: 10_000, openLoopRate };
    const { p50Us, p99Us } = await all.ours.measure(command);
    results.push({ config: name, openLoopRate, p50Us, p99Us });
    console.log(`${name.padEnd(12)} ${openLoopRate}/s  p50 ${p50Us.toFixed(1)}  p99 ${p99Us.toFixed(1)}`);
  }
  return results;
}

async function workers() {
  console.log('\nWorkers, 1 KiB filter, production: calls a second, all together');
  const results = [];
  for (const threads of [1, 2, 4]) {
    const command = { step: 'filter', bodyBytes: 1024, iterations: 20_000, warmup: 2_000, threads };
    const ours = await all.ours.measure({ ...command, config: 'production' });
    const rust = await all.rust.measure({ ...command, strategy: 'pooling' });
    results.push({ threads, ours: ours.callsPerSecond, rust: rust.callsPerSecond });
    console.log(`${threads}  ours ${ours.callsPerSecond.toFixed(0)}  Rust ${rust.callsPerSecond.toFixed(0)}`);
  }
  return results;
}

async function slots() {
  console.log('\nslots of one module, 1 KiB filter, production: p50 µs');
  const results = [];
  for (const count of [1, 10, 100, 1_000]) {
    const command = { step: 'filter', bodyBytes: 1024, iterations: 10_000, warmup: 2_000, slots: count };
    const { p50Us } = await all.ours.measure({ ...command, config: 'production' });
    results.push({ slots: count, p50Us });
    console.log(`${String(count).padEnd(5)} ${p50Us.toFixed(1)}`);
  }
  return results;
}

/** What decides where `auto` makes a call. */
async function threads() {
  console.log('\nevent loop held by a call, µs: on this thread, handed to another');
  const results = [];
  for (const step of STEPS) {
    for (const kib of [1, 16, 64, 128, 256, 1024]) {
      const command = { where: true, step, bodyBytes: kib * 1024, iterations: 300 };
      const { inline, thread } = await all.ours.measure(command);
      results.push({ step, kib, inline, thread });
      console.log(`${step.padEnd(6)} ${`${kib} KiB`.padEnd(9)} ${inline.toFixed(0).padEnd(6)} ${thread.toFixed(0)}`);
    }
  }
  return results;
}
