/** What the load balancer itself counts, beside the runtime's series. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

const BUCKETS = [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

/** The series of requests in one registry. */
export class RequestMetrics {
  readonly #requests: Counter;
  readonly #durations: Histogram;
  readonly #inFlight: Gauge;

  constructor(registry: Registry) {
    const registers = [registry];
    const requests = { name: 'cc_lb_requests_total', help: 'Requests answered', labelNames: ['status'], registers };
    this.#requests = new Counter(requests);
    this.#durations = new Histogram({
      name: 'cc_lb_request_duration_seconds',
      help: 'Time from a request to the end of its answer, in seconds',
      buckets: BUCKETS,
      registers,
    });
    this.#inFlight = new Gauge({ name: 'cc_lb_requests_in_flight', help: 'Requests being answered', registers });
  }

  begun(): void {
    this.#inFlight.inc();
  }

  /** `status` is what the client was told; 499 where it left before it could be told anything. */
  ended(status: number, seconds: number): void {
    this.#inFlight.dec();
    this.#requests.inc({ status: String(status) });
    this.#durations.observe(seconds);
  }
}
