/** Counters that are set from totals. Engines of one process may report to one registry: the series has the sum of theirs. */

/** What one source has reported. */
interface Reported {
  total: number;
  /** What it had reported before it restarted from 0. */
  before: number;
}

/** By counter, so that a series of a cleared registry starts again, and by source. */
const reports = new WeakMap<object, Map<string, Reported>>();

/** Notes the total of a source and returns the sum over all sources of the counter. */
export function sumWith(counter: object, source: string, total: number): number {
  const sources = reports.get(counter) ?? new Map<string, Reported>();
  reports.set(counter, sources);
  const previous = sources.get(source) ?? { total: 0, before: 0 };
  const before = total < previous.total ? previous.before + previous.total : previous.before;
  sources.set(source, { total, before });
  let sum = 0;
  for (const reported of sources.values()) sum += reported.before + reported.total;
  return sum;
}
