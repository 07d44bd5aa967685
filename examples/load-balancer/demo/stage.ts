/** What every part of the demo plays on. */
import type { LogEntry } from '../exchange.ts';
import type { LoadBalancer } from '../load-balancer.ts';
import type { EventTap } from './observation.ts';
import type { Upstream } from './upstream.ts';

export interface Stage {
  readonly balancer: LoadBalancer;
  /** Where the load balancer listens. */
  readonly url: string;
  readonly upstreams: readonly Upstream[];
  /** What the load balancer logged so far. */
  readonly log: LogEntry[];
  /** What the observers were told so far. */
  readonly events: EventTap;
  /** A guest by its name. */
  readonly wasm: (name: string) => Uint8Array;
}
