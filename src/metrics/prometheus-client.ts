/**
 * The part of a prom-client Registry that the sink uses. It is declared here, so that the types of this package work
 * without prom-client.
 */
export interface PrometheusRegistry {
  getSingleMetric(name: string): unknown;
  registerMetric(metric: unknown): void;
}

/** The part of prom-client that the sink uses. */
export interface PrometheusClient {
  readonly Counter: new (configuration: never) => object;
  readonly Gauge: new (configuration: never) => object;
  readonly Histogram: new (configuration: never) => object;
}
