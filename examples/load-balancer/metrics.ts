/** The metrics of the load balancer, in addition to those of the runtime. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** The name of the counter of finished requests. */
export const REQUESTS_TOTAL = 'cc_lb_requests_total';
const BUCKETS = [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

/** A finished request. */
export interface EndedRequest {
  /** 499 if the client disconnected before the answer. */
  readonly status: number;
  readonly seconds: number;
  /** Whether the complete answer was sent. */
  readonly isComplete: boolean;
}

/** The series of requests in one registry. */
export class RequestMetrics {
  readonly #durations: Histogram;
  readonly #incomplete: Counter;
  /** Added to the counter of the registry when it is read, so that a request costs only an increment. */
  readonly #statuses = new Map<number, number>();

  /** `inFlight` is called when the registry is read, before its other series. */
  constructor(registry: Registry, inFlight: () => number) {
    const registers = [registry];
    const statuses = this.#statuses;
    new Gauge({
      name: 'cc_lb_requests_in_flight',
      help: 'Requests in flight',
      registers,
      collect() {
        this.set(inFlight());
      },
    });
    new Counter({
      name: REQUESTS_TOTAL,
      help: 'Finished requests; status 499 if the client disconnected before the answer',
      labelNames: ['status'],
      registers,
      collect() {
        for (const [status, count] of statuses) this.inc({ status: String(status) }, count);
        statuses.clear();
      },
    });
    this.#incomplete = new Counter({
      name: 'cc_lb_requests_incomplete_total',
      help: 'Finished requests without a complete answer: the upstream or the client closed its connection before',
      registers,
    });
    this.#durations = new Histogram({
      name: 'cc_lb_request_duration_seconds',
      help: 'Time from a request to the end of its answer, in seconds',
      buckets: BUCKETS,
      registers,
    });
  }

  /** A request has ended. */
  ended({ status, seconds, isComplete }: EndedRequest): void {
    if (!isComplete) this.#incomplete.inc();
    this.#statuses.set(status, (this.#statuses.get(status) ?? 0) + 1);
    this.#durations.observe(seconds);
  }
}
