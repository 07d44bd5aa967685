/**
 * The histogram of call durations, as a metric for a prom-client Registry. prom-client's own Histogram builds a string
 * from the labels of each observation, which takes longer than some plugin calls.
 */

/** The labels of an observation. */
export interface CallLabels {
  readonly plugin: string;
  readonly hook: string;
}

/** The part of a histogram that the sink uses. */
export interface DurationHistogram {
  observe(labels: CallLabels, seconds: number): void;
  remove(labels: CallLabels): void;
}

/** The observations of one label set. */
interface Series {
  /** Observations per bucket, not cumulative; the last bucket has no upper limit. */
  readonly counts: number[];
  sum: number;
}

/** One exported value of a metric. */
interface ExportedValue {
  readonly metricName: string;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}

/** A histogram with the labels `plugin` and `hook`. */
export class CallDurations implements DurationHistogram {
  readonly name: string;
  readonly help: string;
  readonly type = 'histogram';
  readonly labelNames = ['plugin', 'hook'] as const;
  /** How prom-client combines the values of several processes. */
  readonly aggregator = 'sum';
  readonly #limits: readonly number[];
  /** By plugin, then by hook. */
  readonly #series = new Map<string, Map<string, Series>>();

  /** `limits` are the upper limits of the buckets in seconds, ascending. */
  constructor(name: string, help: string, limits: readonly number[]) {
    this.name = name;
    this.help = help;
    this.#limits = limits;
  }

  /** Counts one call. */
  observe({ plugin, hook }: CallLabels, seconds: number): void {
    let hooks = this.#series.get(plugin);
    if (hooks === undefined) {
      hooks = new Map();
      this.#series.set(plugin, hooks);
    }
    let series = hooks.get(hook);
    if (series === undefined) {
      series = { counts: new Array(this.#limits.length + 1).fill(0), sum: 0 };
      hooks.set(hook, series);
    }
    let bucket = 0;
    while (bucket < this.#limits.length && seconds > this.#limits[bucket]!) bucket++;
    series.counts[bucket]!++;
    series.sum += seconds;
  }

  /** Removes the series of a label set. */
  remove({ plugin, hook }: CallLabels): void {
    const hooks = this.#series.get(plugin);
    hooks?.delete(hook);
    if (hooks?.size === 0) this.#series.delete(plugin);
  }

  /** Removes every series; called by the registry. */
  reset(): void {
    this.#series.clear();
  }

  /** Returns the series as prom-client exports them; called by the registry. */
  async get() {
    const values: ExportedValue[] = [];
    for (const [plugin, hooks] of this.#series) {
      for (const [hook, { counts, sum }] of hooks) {
        const add = (suffix: string, labels: ExportedValue['labels'], value: number) =>
          values.push({ metricName: `${this.name}_${suffix}`, labels: { ...labels, plugin, hook }, value });
        let count = 0;
        for (const [index, limit] of this.#limits.entries()) {
          count += counts[index]!;
          add('bucket', { le: limit }, count);
        }
        count += counts[this.#limits.length]!;
        add('bucket', { le: '+Inf' }, count);
        add('sum', {}, sum);
        add('count', {}, count);
      }
    }
    const { name, help, type, aggregator } = this;
    return { name, help, type, values, aggregator };
  }
}
