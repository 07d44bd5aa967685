/** Sums of counters and histograms. */
import type { Metrics } from './worker.ts';

/** What ended workers have counted. Without it, a sum over the workers would fall when one ends. */
export class Totals {
  /** Metrics by name, and their values by the name and the labels of the series. */
  readonly #metrics = new Map<string, { readonly metric: Metrics[number]; readonly values: Map<string, Value> }>();

  /** Adds the counters and histograms of one process. Other series describe only a running process. */
  add(metrics: Metrics): void {
    for (const metric of metrics) {
      if (!SUMMED.includes(String(metric.type))) continue;
      const { values } = this.#metrics.get(metric.name) ?? { values: new Map<string, Value>() };
      this.#metrics.set(metric.name, { metric, values });
      for (const value of metric.values as Value[]) {
        const key = JSON.stringify([value.metricName, Object.entries(value.labels).sort()]);
        values.set(key, { ...value, value: value.value + (values.get(key)?.value ?? 0) });
      }
    }
  }

  get metrics(): Metrics {
    return [...this.#metrics.values()].map(({ metric, values }) => ({ ...metric, values: [...values.values()] }));
  }
}

/** Of a histogram, `metricName` distinguishes buckets, sum and count. */
type Value = Metrics[number]['values'][number] & { metricName?: string };

const SUMMED = ['counter', 'histogram'];
