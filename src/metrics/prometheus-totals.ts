/**
 * Counters that are set from totals. Several engines may report to one registry, and the series is the sum of their
 * totals.
 */

/** The reports of one source. */
interface Reported {
  total: number;
  /** The sum of its totals before restarts from 0. */
  before: number;
}

/** Reports by counter, so that the series of a cleared registry starts again, and by source. */
const reports = new WeakMap<object, Map<string, Reported>>();

/** Records the total of a source; returns the sum over all sources of the counter. */
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
