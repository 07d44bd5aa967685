// From the rounds of a column to its figures and ratios.
import { median } from './statistics.mjs';

const FIGURES = ['p50Us', 'p90Us', 'p99Us', 'cpuUs', 'requestsPerSecond', 'rssKiB', 'peakRssKiB'];
const RATIOS = ['p50Us', 'p99Us', 'cpuUs'];

/**
 * `figures[contestant][mode]` are medians of the rounds. `ratios[other][mode]` are this package's to another
 * contestant's, and `scaling[contestant]` the requests per second of two threads to those of one and to those of two
 * processes, each the median of the rounds' ratios.
 */
export function summarize(rounds) {
  const figures = {};
  for (const [name, modes] of Object.entries(rounds[0])) {
    figures[name] = {};
    for (const mode of Object.keys(modes)) {
      const values = (figure) => rounds.map((round) => round[name][mode][figure]);
      figures[name][mode] = Object.fromEntries(FIGURES.map((figure) => [figure, median(values(figure))]));
    }
  }
  const names = Object.keys(figures);
  const ratios = {};
  const subject = names.includes('package') ? 'package' : names.find((name) => name !== 'rust');
  for (const other of names) {
    if (subject === undefined || other === subject) continue;
    ratios[other] = {};
    for (const mode of Object.keys(figures[other])) {
      if (figures[subject][mode] === undefined) continue;
      const ratio = (figure) =>
        median(rounds.map((round) => round[subject][mode][figure] / round[other][mode][figure]));
      ratios[other][mode] = Object.fromEntries(RATIOS.map((figure) => [figure, ratio(figure)]));
    }
  }
  const rate = (round, name, mode) => round[name][mode]?.requestsPerSecond;
  const scaling = Object.fromEntries(
    names.map((name) => [
      name,
      {
        toOne: median(rounds.map((round) => rate(round, name, 'threads') / rate(round, name, 'one'))),
        toProcesses: median(rounds.map((round) => rate(round, name, 'threads') / rate(round, name, 'processes'))),
      },
    ]),
  );
  return { subject, figures, ratios, scaling };
}

/** Whether a goal of a column is reached; undefined without a goal or without a figure to compare with. */
export function reached({ goals, ratios }, figure) {
  const goal = goals[figure];
  const ratio = ratios.rust?.one?.[figure];
  return goal === undefined || ratio === undefined ? undefined : ratio <= goal;
}
