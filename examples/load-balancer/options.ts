/** The options of a load balancer, and their defaults. */
import type { ObserveStage, WasmtimeRuntime } from 'cc-lb-runtime-wasmtime';
import type { BreakerOptions } from './breaker.ts';
import type { CachedPrompt } from './cache-ledger.ts';
import type { LogEntry, RequestRecord } from './record.ts';
import type { UpstreamTimeouts } from './upstream.ts';

/** Limits of clients. */
export interface Limits {
  /** Bytes of a request's body. */
  readonly bodyBytes: number;
  /**
   * Bytes of all bodies in memory, shared by principals; requests that exceed it are answered with 503 and Retry-After.
   */
  readonly bufferedBytes: number;
  /** Bytes of a request's head. */
  readonly headerBytes: number;
  /** Header lines of a request; more are an error. */
  readonly headers: number;
  /** Concurrent requests, shared by principals; more are answered with 503 and Retry-After. */
  readonly requests: number;
  /** Concurrent connections of clients; more are closed. */
  readonly connections: number;
  /** Concurrent requests to one upstream, each on its own connection, shared by principals; null is no limit. */
  readonly upstreamConnections: number | null;
}

/** Time limits, in milliseconds. */
export interface Timeouts extends UpstreamTimeouts {
  /** For a client to send the head of a request. */
  readonly requestHeadersMs: number;
  /** For a client to send a whole request. */
  readonly requestMs: number;
  /** For an idle connection of a client. */
  readonly keepAliveMs: number;
  /** For an idle event stream until a comment is sent. */
  readonly streamCommentMs: number;
}

type Some<Options> = { readonly [Name in keyof Options]?: Options[Name] | undefined };

/** Options of a load balancer. Every option has a default. */
export interface LoadBalancerOptions {
  /** The runtime's config; by default, shapes must keep their upstream's origin. */
  readonly engine?: ConstructorParameters<typeof WasmtimeRuntime>[0];
  readonly limits?: Some<Limits> | undefined;
  readonly timeouts?: Some<Timeouts> | undefined;
  readonly breaker?: Some<BreakerOptions> | undefined;
  /** Observers that receive the events after the plugins. */
  readonly observers?: readonly ObserveStage[] | undefined;
  readonly log?: ((entry: LogEntry) => void) | undefined;
  /** Called with the record of each finished request. */
  readonly accessLog?: ((record: RequestRecord) => void) | undefined;
  /** Called with each prompt that an answer reports as cached, for other load balancers of the same upstreams. */
  readonly onCached?: ((cached: CachedPrompt) => void) | undefined;
}

const LIMITS: Limits = {
  bodyBytes: 32 * 1024 * 1024,
  bufferedBytes: 1024 * 1024 * 1024,
  headerBytes: 16 * 1024,
  headers: 200,
  requests: 1_000,
  connections: 10_000,
  upstreamConnections: null,
};
const TIMEOUTS: Timeouts = {
  connectMs: 5_000,
  headersMs: 600_000,
  idleMs: 300_000,
  requestHeadersMs: 10_000,
  requestMs: 120_000,
  keepAliveMs: 72_000,
  streamCommentMs: 15_000,
};
const BREAKER: BreakerOptions = { failures: 5, openMs: 10_000 };

/** Returns the complete limits, timeouts and thresholds of these options. */
export function completed({ limits, timeouts, breaker }: LoadBalancerOptions) {
  return {
    limits: withDefaults(LIMITS, limits),
    timeouts: withDefaults(TIMEOUTS, timeouts),
    breaker: withDefaults(BREAKER, breaker),
  };
}

function withDefaults<Options extends object>(defaults: Options, given: Some<Options> = {}): Options {
  const present = Object.entries(given).filter(([, value]) => value !== undefined);
  return { ...defaults, ...Object.fromEntries(present) };
}
