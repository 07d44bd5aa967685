// `npm run bench`: compares a request (filter and shape) of this package with the Rust crate. All contestants alternate
// in every round; figures are medians of the rounds, ratios are medians of the rounds' ratios.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { setUp } from '../scripts/setup.mjs';
import { allColumns, quickColumns } from './columns.mjs';
import { buildPeer, CONTESTANT_NAMES, Contestant } from './contestants.mjs';
import { summarize } from './summary.mjs';
import { line } from './table.mjs';

const USAGE = `npm run bench -- [options]
  --quick                a selection of columns and 5 rounds: less than two minutes
  --rounds N             rounds (15)
  --columns PATTERN      the columns whose name matches a regular expression
  --contestants A,B      of ${CONTESTANT_NAMES.join(', ')}
                         (rust,package, and baseline where --baseline is given)
  --baseline PATH        another build of this package: a folder with dist/ and build/
  --package PATH         the build to measure (this one)
  --modes A,B            of one, threads, processes (all that a column has)
  --output FILE          where the results go (build/bench/results.json)
  --append               keep the columns of earlier runs in that file
  --no-build             measure what is built
  --list                 print the names of the columns`;

/**
 * Milliseconds of warm-up: for the first column of a process, which the JIT compiles meanwhile, for others, in a round.
 */
const WARMUP = { first: 1_500, column: 300, round: 20 };
const RESULTS = fileURLToPath(new URL('../build/bench/results.json', import.meta.url));

const options = parse();
if (options.list) {
  for (const { name } of options.columns) console.log(name);
  process.exit(0);
}
if (options.build) {
  // Users run the published binary, so that is what is measured.
  setUp('dist');
  buildPeer();
}
const machine = `${cpus().length} × ${cpus()[0].model.trim()}, Node ${process.version}, ${process.platform}-${process.arch}`;
console.log(machine);
mkdirSync(dirname(options.output), { recursive: true });
const columns =
  options.append && existsSync(options.output) ? JSON.parse(readFileSync(options.output, 'utf8')).columns : {};
for (const group of groups(options.columns)) await measureGroup(group);
console.log(`\nwrote ${options.output}; npm run bench:report writes docs/performance.md from it`);

function parse() {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      columns: { type: 'string', default: '' },
      contestants: { type: 'string' },
      baseline: { type: 'string' },
      package: { type: 'string', default: '.' },
      modes: { type: 'string' },
      output: { type: 'string', default: RESULTS },
      append: { type: 'boolean', default: false },
      'no-build': { type: 'boolean', default: false },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    process.exit(0);
  }
  const pattern = new RegExp(values.columns);
  const names = values.contestants?.split(',') ?? [
    'rust',
    'package',
    ...(values.baseline === undefined ? [] : ['baseline']),
  ];
  const unknown = names.filter((name) => !CONTESTANT_NAMES.includes(name));
  if (unknown.length > 0) throw new Error(`unknown contestants: ${unknown.join(', ')}\n${USAGE}`);
  if (values.baseline === undefined && names.some((name) => name.startsWith('baseline'))) {
    throw new Error('a baseline needs --baseline PATH');
  }
  const modes = values.modes?.split(',');
  const chosen = (values.quick ? quickColumns() : allColumns()).filter(({ name }) => pattern.test(name));
  return {
    names,
    baseline: values.baseline,
    subject: values.package,
    output: values.output,
    append: values.append,
    build: !values['no-build'],
    list: values.list,
    rounds: Number(values.rounds ?? (values.quick ? 5 : 15)),
    columns: chosen.map((column) => ({
      ...column,
      modes: column.modes.filter((mode) => modes === undefined || modes.includes(mode)),
    })),
  };
}

/** Columns that share their processes: those that follow one another with the same modules. */
function groups(all) {
  const found = [];
  let last;
  for (const column of all) {
    const { work, guests, principals } = column.command;
    const key = `${work} ${guests} ${principals}`;
    if (key === last) found.at(-1).push(column);
    else found.push([column]);
    last = key;
  }
  return found;
}

async function measureGroup(group) {
  const contestants = options.names.map((name) => new Contestant(name, options));
  try {
    // Admission of all modules, which takes seconds where there are many principals, and not in turns.
    const setUpOnly = { warmupMs: 0, measureMs: 0, minimum: 1 };
    await Promise.all(
      contestants.map(async (contestant) => {
        if (contestant.measures(group[0], 'one')) await contestant.measure(group[0], 'one', setUpOnly);
      }),
    );
    for (const [index, column] of group.entries()) {
      await measureColumn(column, contestants, index === 0 ? WARMUP.first : WARMUP.column);
    }
  } finally {
    for (const contestant of contestants) contestant.close();
  }
}

async function measureColumn(column, contestants, warmupMs) {
  const turns = column.modes.flatMap((mode) =>
    contestants.filter((one) => one.measures(column, mode)).map((contestant) => ({ mode, contestant })),
  );
  const rounds = [];
  for (const { mode, contestant } of turns) {
    await contestant.measure(column, mode, { warmupMs, measureMs: 0, minimum: 1 });
  }
  for (let round = 0; round < options.rounds; round++) {
    const measured = {};
    for (const { mode, contestant } of turns) {
      measured[contestant.name] ??= {};
      measured[contestant.name][mode] = await contestant.measure(column, mode, { warmupMs: WARMUP.round });
    }
    rounds.push(measured);
  }
  const summary = {
    ...summarize(rounds),
    label: column.label,
    goals: column.goals,
    command: column.command,
    rounds: rounds.length,
    load: loadavg()[0],
  };
  columns[column.name] = summary;
  console.log(line(column.name, summary));
  writeFileSync(options.output, `${JSON.stringify({ machine, columns }, null, 2)}\n`);
}
