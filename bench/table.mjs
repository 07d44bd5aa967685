// The figures as lines of text, for the terminal.
import { reached } from './summary.mjs';

const micros = (value) => (value >= 1000 ? `${(value / 1000).toFixed(2)} ms` : `${value.toFixed(1)} µs`);
const times = (value) => `${value.toFixed(2)} ×`;

/** A few lines: the column's name and ratios, then a line for each contestant and mode. */
export function line(name, summary) {
  const { figures, ratios, scaling, goals } = summary;
  const lines = [`\n${name}`];
  for (const [other, modes] of Object.entries(ratios)) {
    for (const [mode, ratio] of Object.entries(modes)) {
      const parts = Object.entries({ p50Us: 'p50', p99Us: 'p99', cpuUs: 'CPU' }).map(([figure, label]) => {
        const goal = other === 'rust' && mode === 'one' ? goals[figure] : undefined;
        const mark = goal === undefined ? '' : reached(summary, figure) ? ' (reached)' : ` (to reach: ${goal})`;
        return `${label} ${times(ratio[figure])}${mark}`;
      });
      lines.push(`  ${summary.subject} to ${other}, ${mode}: ${parts.join(', ')}`);
    }
  }
  for (const [contestant, modes] of Object.entries(figures)) {
    for (const [mode, figure] of Object.entries(modes)) {
      const { p50Us, p90Us, p99Us, cpuUs, requestsPerSecond, rssKiB } = figure;
      const quantiles = [p50Us, p90Us, p99Us].map((value) => micros(value).padStart(9)).join(' ');
      lines.push(
        `    ${contestant.padEnd(16)} ${mode.padEnd(9)} p50 p90 p99 ${quantiles}  CPU ${micros(cpuUs).padStart(9)}` +
          `  ${requestsPerSecond.toFixed(0).padStart(6)}/s  ${(rssKiB / 1024).toFixed(0).padStart(5)} MiB`,
      );
    }
    const { toOne, toProcesses } = scaling[contestant];
    if (toOne !== null) {
      const processes = toProcesses === null ? '' : `, ${times(toProcesses)} two processes`;
      lines.push(`    ${contestant.padEnd(16)} two threads: ${times(toOne)} one${processes}`);
    }
  }
  return lines.join('\n');
}
