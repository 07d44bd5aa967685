/**
 * The part of a prom-client Registry that the sink uses. It is declared here, so that the types of this package work
 * without prom-client.
 */
export interface PrometheusRegistry {
  /** Returns the metric of this name; undefined without one. */
  getSingleMetric(name: string): unknown;
  /** Adds a metric. */
  registerMetric(metric: unknown): void;
}

/** A class of metrics of prom-client. */
export interface PrometheusMetric {
  /** Creates a metric. */
  new (configuration: never): object;
}

/** The part of prom-client that the sink uses. */
export interface PrometheusClient {
  /** The class of counters. */
  readonly Counter: PrometheusMetric;
  /** The class of gauges. */
  readonly Gauge: PrometheusMetric;
}
