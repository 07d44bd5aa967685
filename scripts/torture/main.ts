/**
 * The torture suite's own part: one process per scenario, their progress, their ends and the summary.
 *
 *   --minutes M | --seconds S   for the whole suite, shared equally (5 minutes)
 *   --full                      until every scenario has reached its target, however long that takes
 *   --only a,b                  these scenarios alone
 *   --units N                   so many units of each scenario instead of its target
 *   --seed X                    the same randomness as an earlier run
 */
import { fork } from 'node:child_process';
import { availableParallelism, cpus, loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Telling } from './child.ts';
import { type Figure, grouped } from './scenario.ts';

const USUAL = [
  'traps',
  'canary',
  'churn',
  'swaps',
  'admission',
  'hostile',
  'buffers',
  'deadline',
  'soak',
  'tenants',
  'slots',
];
/** These change a setting of the whole system or need its permission, so that they run only where they are named. */
const ON_REQUEST = ['huge-pages', 'memory-limit'];
const NAMES = [...USUAL, ...ON_REQUEST];
const DEFAULT_MINUTES = 5;

const { values } = parseArgs({
  options: {
    minutes: { type: 'string' },
    seconds: { type: 'string' },
    full: { type: 'boolean', default: false },
    only: { type: 'string' },
    units: { type: 'string' },
    seed: { type: 'string' },
  },
});

const names = values.only === undefined ? USUAL : values.only.split(',');
const unknown = names.filter((name) => !NAMES.includes(name));
const seconds = values.full
  ? Number.MAX_SAFE_INTEGER
  : Number(values.seconds ?? Number(values.minutes ?? DEFAULT_MINUTES) * 60);
const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed);
if (unknown.length > 0 || !(seconds > 0) || !Number.isInteger(seed)) {
  console.error(`unknown or bad arguments; scenarios are ${NAMES.join(', ')}`);
  process.exit(2);
}

interface Verdict {
  readonly name: string;
  readonly figures: readonly Figure[];
  /** What went wrong beyond the figures. */
  readonly broken: string | undefined;
  readonly seconds: number;
}

const interactive = process.stdout.isTTY;

function torment(name: string, limit: number): Promise<Verdict> {
  const began = performance.now();
  const child = fork(
    fileURLToPath(new URL('./child.js', import.meta.url)),
    [name, String(seed), String(limit), values.units ?? '0'],
    { execArgv: ['--expose-gc', '--enable-source-maps'], stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
  );
  let figures: readonly Figure[] | undefined;
  let broken: string | undefined;
  let quarter = 0;
  child.on('message', (telling: Telling) => {
    if ('figures' in telling) figures = telling.figures;
    else if ('broken' in telling) broken = telling.broken;
    else {
      const { done, target, unit } = telling;
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
      if (signal !== null) broken = `the process was ended by ${signal}`;
      else if (code !== 0) broken ??= `the process ended with ${code}`;
      else if (figures === undefined) broken ??= 'the process ended without a result';
      resolve({ name, figures: figures ?? [], broken, seconds: (performance.now() - began) / 1_000 });
    });
  });
}

console.log(`seed ${seed}; ${names.length} scenarios`);
const verdicts: Verdict[] = [];
const deadline = performance.now() + seconds * 1_000;
for (const [index, name] of names.entries()) {
  const left = (deadline - performance.now()) / 1_000;
  verdicts.push(await torment(name, Math.max(1, left / (names.length - index))));
}

const mark = (ok: boolean | null) => (ok === null ? '·' : ok ? '✓' : '✗');
console.log(`\nNode ${process.version}, ${cpus()[0]?.model}, ${availableParallelism()} CPUs, seed ${seed}`);
for (const { name, figures, broken, seconds: took } of verdicts) {
  console.log(`\n${name} (${took.toFixed(0)} s)`);
  for (const figure of figures) console.log(`  ${mark(figure.ok)} ${figure.name}: ${figure.value}`);
  if (broken !== undefined) console.log(`  ✗ ${broken}`);
}
const failed = verdicts.filter(({ figures, broken }) => broken !== undefined || figures.some(({ ok }) => ok === false));
console.log(
  `\nload average ${loadavg()[0]!.toFixed(1)}; ${verdicts.length - failed.length} of ${verdicts.length} held`,
);
process.exitCode = failed.length === 0 ? 0 : 1;
