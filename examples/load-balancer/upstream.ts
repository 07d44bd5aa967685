/** An upstream: its connections, its breaker and its base URL. */
import { type Dispatcher, Pool } from 'undici';
import type { BreakerOptions } from './breaker.ts';
import { connector } from './connector.ts';
import { FairShares } from './fair-shares.ts';
import type { UpstreamRoute } from './routes.ts';
import { type BreakerCall, UpstreamBreaker } from './upstream-breaker.ts';

/** Limits of one upstream's connections, in milliseconds. */
export interface UpstreamTimeouts {
  /** For connecting. */
  readonly connectMs: number;
  /** For the head of an answer. */
  readonly headersMs: number;
  /** Between two chunks of an answer, and for a client to read. */
  readonly idleMs: number;
}

/** The options of all upstreams. */
export interface UpstreamOptions {
  readonly timeouts: UpstreamTimeouts;
  readonly breaker: BreakerOptions;
  /** Concurrent connections to one upstream, each for one request, shared by principals; null is no limit. */
  readonly connections: number | null;
}

/** An upstream. It persists across deployments of routes with its id and base URL. */
export class Upstream {
  readonly id: string;
  readonly origin: string;
  readonly baseUrl: string;
  /** The path of the base URL without a trailing slash. */
  readonly basePath: string;
  readonly dispatcher: Dispatcher;
  readonly breaker: UpstreamBreaker;
  /** The running requests, by principal. */
  readonly #running: FairShares;

  constructor({ id, baseUrl }: UpstreamRoute, { timeouts, breaker, connections }: UpstreamOptions) {
    const url = new URL(baseUrl);
    this.id = id;
    this.origin = url.origin;
    this.baseUrl = baseUrl;
    this.basePath = url.pathname.replace(/\/$/, '');
    this.breaker = new UpstreamBreaker(breaker);
    this.#running = new FairShares(connections ?? Number.POSITIVE_INFINITY);
    this.dispatcher = new Pool(url.origin, {
      connections,
      connect: connector(timeouts.connectMs),
      headersTimeout: timeouts.headersMs,
      bodyTimeout: timeouts.idleMs,
    });
  }

  /**
   * Whether a request of a principal may be sent now: the breaker allows it and a connection is free. A request never waits
   * for a connection, because undici limits neither the time nor the memory of waiting requests.
   */
  admits(principal: string): boolean {
    return this.#running.allows(principal, 1) && this.breaker.admits(principal);
  }

  /** Reports a request that `admits` allowed. It must end in `ended`, and its result is reported to the returned object. */
  begin(principal: string): BreakerCall {
    this.#running.take(principal, 1);
    return this.breaker.begin(principal);
  }

  /** The request does not use its connection anymore. */
  ended(principal: string): void {
    this.#running.release(principal, 1);
  }
}

/** The upstreams of a load balancer, by id and base URL. */
export class Upstreams {
  readonly #options: UpstreamOptions;
  readonly #known = new Map<string, Upstream>();

  constructor(options: UpstreamOptions) {
    this.#options = options;
  }

  /** Returns the upstream of a route: the existing one if there is one. */
  get(route: UpstreamRoute): Upstream {
    const key = JSON.stringify([route.id, route.baseUrl]);
    let upstream = this.#known.get(key);
    if (upstream === undefined) {
      upstream = new Upstream(route, this.#options);
      this.#known.set(key, upstream);
    }
    return upstream;
  }

  /**
   * Removes the other upstreams. Requests that started before may still be sent to them, so their connections are not
   * closed: undici closes idle ones.
   */
  retain(kept: readonly Upstream[]): void {
    for (const [key, upstream] of this.#known) if (!kept.includes(upstream)) this.#known.delete(key);
  }

  /** Closes every connection. */
  async destroy(): Promise<void> {
    await Promise.all([...this.#known.values()].map(({ dispatcher }) => dispatcher.destroy()));
  }
}
