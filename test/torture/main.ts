/** The driver of the torture suite: runs each scenario in a process of its own, and prints progress and a summary. */
import { fork } from 'node:child_process';
import { availableParallelism, cpus, loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { ChildMessage } from './child.ts';
import { type Figure, grouped } from './scenario.ts';

const USUAL = [
  'traps',
  'canary',
  'churn',
  'swaps',
  'admission',
  'hostile',
  'compile',
  'corruption',
  'buffers',
  'deadline',
  'blocking',
  'soak',
  'tenants',
  'slots',
  'neighbors',
  'streams',
];
/** These change a setting of the whole system or need its permission, so they run only when `--only` names them. */
const ON_REQUEST = ['huge-pages', 'memory-limit'];
const NAMES = [...USUAL, ...ON_REQUEST];
const DEFAULT_MINUTES = 5;

const HELP = `npm run torture -- [options]
  --minutes M, --seconds S  for the whole suite, divided equally (${DEFAULT_MINUTES} minutes)
  --full                    until every scenario has reached its target count, without a time limit
  --only A,B                only these scenarios
  --units N                 N units of each scenario instead of its target count
  --seed X                  the random numbers of an earlier run
Scenarios: ${USUAL.join(', ')}
Only with --only: ${ON_REQUEST.join(', ')}`;

const values = readOptions();
if (values.help) {
  console.log(HELP);
  process.exit();
}

const names = values.only === undefined ? USUAL : values.only.split(',');
const unknown = names.filter((name) => !NAMES.includes(name));
const seconds = values.full
  ? Number.MAX_SAFE_INTEGER
  : Number(values.seconds ?? Number(values.minutes ?? DEFAULT_MINUTES) * 60);
const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed);
if (unknown.length > 0 || !(seconds > 0) || !Number.isInteger(seed) || !Number.isInteger(Number(values.units ?? 0))) {
  invalid(unknown.length > 0 ? `unknown scenario ${unknown.join(', ')}` : 'invalid number');
}

function readOptions() {
  try {
    return parseArgs({
      options: {
        minutes: { type: 'string' },
        seconds: { type: 'string' },
        full: { type: 'boolean', default: false },
        only: { type: 'string' },
        units: { type: 'string' },
        seed: { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }).values;
  } catch (error) {
    return invalid((error as Error).message);
  }
}

function invalid(problem: string): never {
  console.error(`${problem}\n${HELP}`);
  process.exit(2);
}

interface Verdict {
  readonly name: string;
  readonly figures: readonly Figure[];
  /** A violation, or an unexpected exit of the process. */
  readonly failure: string | undefined;
  readonly seconds: number;
}

const interactive = process.stdout.isTTY;

function runScenario(name: string, limit: number): Promise<Verdict> {
  const began = performance.now();
  const child = fork(
    fileURLToPath(new URL('./child.js', import.meta.url)),
    [name, String(seed), String(limit), values.units ?? '0'],
    { execArgv: ['--expose-gc', '--enable-source-maps'], stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
  );
  let figures: readonly Figure[] | undefined;
  let failure: string | undefined;
  let quarter = 0;
  child.on('message', (message: ChildMessage) => {
    if ('figures' in message) figures = message.figures;
    else if ('violation' in message) failure = message.violation;
    else {
      const { done, target, unit } = message;
      const line = `  ${name}: ${grouped(done)} of ${grouped(target)} ${unit}`;
      const part = Math.max(done / target, (performance.now() - began) / 1_000 / limit);
      if (interactive) process.stdout.write(`\r${line}`.padEnd(78));
      else if (part * 4 >= quarter + 1) console.log(line);
      quarter = Math.floor(part * 4);
    }
  });
  return new Promise((resolve) => {
    child.on('exit', (code, signal) => {
      if (interactive) process.stdout.write('\r'.padEnd(78).concat('\r'));
      if (signal !== null) failure = `signal ${signal} ended the process`;
      else if (code !== 0) failure ??= `the process exited with ${code}`;
      else if (figures === undefined) failure ??= 'the process exited without a result';
      resolve({ name, figures: figures ?? [], failure, seconds: (performance.now() - began) / 1_000 });
    });
  });
}

console.log(`seed ${seed}; ${names.length} scenarios`);
const verdicts: Verdict[] = [];
const deadline = performance.now() + seconds * 1_000;
for (const [index, name] of names.entries()) {
  const left = (deadline - performance.now()) / 1_000;
  verdicts.push(await runScenario(name, Math.max(1, left / (names.length - index))));
}

const mark = (ok: boolean | null) => (ok === null ? '·' : ok ? '✓' : '✗');
console.log(`\nNode ${process.version}, ${cpus()[0]?.model}, ${availableParallelism()} CPUs, seed ${seed}`);
for (const { name, figures, failure, seconds: took } of verdicts) {
  console.log(`\n${name} (${took.toFixed(0)} s)`);
  for (const figure of figures) console.log(`  ${mark(figure.ok)} ${figure.name}: ${figure.value}`);
  if (failure !== undefined) console.log(`  ✗ ${failure}`);
}
const failed = verdicts.filter(
  ({ figures, failure }) => failure !== undefined || figures.some(({ ok }) => ok === false),
);
console.log(
  `\nload average ${loadavg()[0]!.toFixed(1)}; ${verdicts.length - failed.length} of ${verdicts.length} held`,
);
process.exitCode = failed.length === 0 ? 0 : 1;
