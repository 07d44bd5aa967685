// `npm run bench:report`: writes the tables of docs/performance.md, its chart, and the summary of README.md from
// build/bench/results.json.
import { readFileSync, writeFileSync } from 'node:fs';
import { draw as drawChart } from './chart.mjs';

const at = (path) => new URL(`../${path}`, import.meta.url);
const DOCUMENT = at('docs/performance.md');
const README = at('README.md');
/** The columns of the README's table. */
const SUMMARY = ['1 KiB, k = 1', '1 KiB, k = 64', '64 KiB, k = 1', '1 MiB, k = 1', '16 MiB, k = 1'];
const CHART = at('docs/performance.svg');
const BEGIN = '<!-- npm run bench:report writes from here -->';
const END = '<!-- to here -->';

const { machine, columns: measured } = JSON.parse(readFileSync(at('build/bench/results.json'), 'utf8'));
const all = Object.entries(measured).map(([name, column]) => ({ name, ...column }));
const inOrder = (work) =>
  all
    .filter(({ command }) => command.work === work && command.guests === 'plain')
    .sort(({ command: a }, { command: b }) => a.bodyBytes - b.bodyBytes || a.principals - b.principals);
const plain = inOrder('request');
const reused = inOrder('reused');
const rounds = range(all.map((column) => column.rounds));
const caption = `${machine}; medians of ${rounds} rounds, npm run bench`;

/** Returns the smallest and the largest of some numbers as text. */
function range(values, write = String) {
  const ends = [Math.min(...values), Math.max(...values)].map(write);
  return ends[0] === ends[1] ? ends[0] : ends.join(' to ');
}

const number = (value) => (value >= 100 ? value.toFixed(0) : value.toPrecision(value >= 10 ? 3 : 2));
const time = (micros) => (micros >= 1000 ? `${number(micros / 1000)} ms` : `${number(micros)} µs`);
const ratio = (value) => (value === null || value === undefined ? '–' : `${value.toFixed(2)} ×`);
const rate = (value) => Math.round(value).toLocaleString('en');
const quantiles = ({ p50Us, p90Us, p99Us, cpuUs }) => [p50Us, p90Us, p99Us, cpuUs].map(time).join(' / ');
const body = ({ label, command }) =>
  `${label}, k = ${command.principals}${command.work === 'reused' ? ', `bodyInto`' : ''}`;

function table(head, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function oneThread(chosen, label) {
  const head = ['', 'Rust: p50 / p90 / p99 / CPU', 'this package', 'ratios: p50, p99, CPU', 'resident memory'];
  return table(
    head,
    chosen.map((column) => {
      const { rust, package: ours } = column.figures;
      const { p50Us, p99Us, cpuUs } = column.ratios.rust.one;
      const memory = [rust, ours].map(({ one }) => `${Math.round(one.rssKiB / 1024)}`).join(', ');
      const ratios = [p50Us, p99Us, cpuUs].map((value) => value.toFixed(2)).join(', ');
      return [label(column), quantiles(rust.one), quantiles(ours.one), ratios, `${memory} MiB`];
    }),
  );
}

function twoThreads(chosen) {
  const head = [
    '',
    'Rust: one, two threads',
    'this package: one, two threads',
    'two processes',
    'two threads to one, to two processes',
    'p99 of two threads: Rust, this package',
  ];
  return table(
    head,
    chosen.map((column) => {
      const { rust, package: ours } = column.figures;
      const { toOne, toProcesses } = column.scaling.package;
      return [
        body(column),
        [rust.one, rust.threads].map((mode) => rate(mode.requestsPerSecond)).join(', '),
        [ours.one, ours.threads].map((mode) => rate(mode.requestsPerSecond)).join(', '),
        ours.processes === undefined ? '–' : rate(ours.processes.requestsPerSecond),
        `${ratio(toOne)}, ${ratio(toProcesses)}`,
        `${time(rust.threads.p99Us)}, ${time(ours.threads.p99Us)}: ${ratio(column.ratios.rust.threads.p99Us)}`,
      ];
    }),
  );
}

/** Work without a counterpart in the Rust crate, next to the earlier build that was measured with it. */
function otherWork(chosen) {
  const head = ['', 'earlier build: p50 / p90 / p99 / CPU', 'this package', 'ratios: p50, p99, CPU'];
  return table(
    head,
    chosen.map((column) => {
      const { baseline, package: ours } = column.figures;
      const against = column.ratios.baseline?.one;
      const ratios =
        against === undefined
          ? '–'
          : [against.p50Us, against.p99Us, against.cpuUs].map((value) => value.toFixed(2)).join(', ');
      return [column.name, baseline === undefined ? '–' : quantiles(baseline.one), quantiles(ours.one), ratios];
    }),
  );
}

const load = range(
  all.map((column) => column.load),
  (value) => value.toFixed(1),
);
const sections = [
  {
    title:
      '**One thread.** Body size and k, the number of principals; time of a request and its CPU time over all threads of the process; ratios of this package to the Rust crate; resident memory of the Rust process and of this one.',
    columns: plain,
    draw: (chosen) => oneThread(chosen, body),
  },
  {
    title: '**One thread, with a buffer of the caller for the body of each answer** (`bodyInto`).',
    columns: reused,
    draw: (chosen) => oneThread(chosen, body),
  },
  {
    title: '**Two threads.** Requests per second; threads are Workers of one process.',
    columns: [...plain, ...reused].filter(({ figures }) => figures.package.threads !== undefined),
    draw: twoThreads,
  },
  {
    title: '**Guests built with other settings.**',
    columns: all.filter(({ command }) => command.work === 'request' && command.guests !== 'plain'),
    draw: (chosen) => oneThread(chosen, ({ name }) => name.replace('request, ', '')),
  },
  {
    title: '**Other calls** that the Rust crate has: one filter call; a request with all observe events.',
    columns: all.filter(({ command }) => ['filter', 'observed'].includes(command.work)),
    draw: (chosen) => oneThread(chosen, ({ name }) => name),
  },
  {
    title:
      '**Transforms**, which the Rust crate does not call, compared with an earlier build of this package (`--baseline`): one event of 200 bytes; a request with 20 of them and all observe events.',
    columns: all.filter(({ command }) => ['event', 'stream'].includes(command.work)),
    draw: otherWork,
  },
].filter(({ columns }) => columns.length > 0);
const parts = [
  `Measured on ${machine}; medians of ${rounds} rounds; load averages of ${load} during the run.`,
  ...sections.flatMap(({ title, columns, draw }) => [title, draw(columns)]),
];

replaceFigures(DOCUMENT, parts);
replaceFigures(README, summary());
writeFileSync(
  CHART,
  drawChart(
    plain.map((column) => ({ label: column.name.replace('request, ', ''), ratio: column.ratios.rust.one })),
    caption,
  ),
);
console.log('wrote docs/performance.md, docs/performance.svg and README.md');

/** Returns some columns, and the worst of all, which are the ones to know before an installation. */
function summary() {
  const compared = all.filter(({ ratios }) => ratios.rust !== undefined);
  const slowest = worst(compared, ({ ratios }) => ratios.rust.one.p50Us);
  const tail = worst(compared, ({ ratios }) => ratios.rust.threads?.p99Us ?? 0);
  const named = ({ name }) => name.replace('request, ', '');
  const rows = plain
    .filter((column) => SUMMARY.includes(body(column)))
    .map((column) => {
      const { p50Us, p99Us, cpuUs } = column.ratios.rust.one;
      const { one } = column.figures.package;
      return [body(column), time(one.p50Us), ratio(p50Us), ratio(p99Us), ratio(cpuUs)];
    });
  return [
    'Time of one request, which calls a filter and a shape, by body size and k, the number of principals with plugins of their own. The ratios compare it with the Rust crate on the same machine:',
    table(['', 'p50', 'ratio of p50', 'of p99', 'of CPU time'], rows),
    `The slowest column is that of “${named(slowest)}” with ${ratio(slowest.ratios.rust.one.p50Us)}; the worst p99 is that of “${named(tail)}” on two threads with ${ratio(tail.ratios.rust.threads.p99Us)}. [Performance](docs/performance.md) has every column, the method, and the causes.`,
  ];
}

function worst(columns, value) {
  return columns.reduce((one, other) => (value(other) > value(one) ? other : one));
}

/** Replaces the text between the two lines that mark the figures of a document. */
function replaceFigures(file, paragraphs) {
  const [before, rest] = readFileSync(file, 'utf8').split(BEGIN);
  const after = rest?.split(END)[1];
  if (after === undefined) throw new Error(`${file.pathname} lacks the lines ${BEGIN} and ${END}`);
  writeFileSync(file, `${before}${BEGIN}\n\n${paragraphs.join('\n\n')}\n\n${END}${after}`);
}
