/** What the load balancer serves: upstreams, principals and plugins. Plain data, so that it crosses between processes. */
import type { Principal } from 'cc-lb-runtime-wasmtime';

/** A server that answers requests. */
export interface UpstreamRoute {
  /** A UUID. */
  readonly id: string;
  readonly name: string;
  readonly baseUrl: string;
  /** Sent as x-api-key instead of the client's. */
  readonly apiKey?: string | undefined;
}

/** Somebody who may send requests. */
export interface PrincipalRoute extends Principal {
  /** SHA-256 of the principal's key in lower-case hex: the key itself need not be kept. */
  readonly keySha256: string;
}

/** A plugin and whom it serves. */
export interface PluginRoute {
  readonly kind: 'filter' | 'shape' | 'observe';
  readonly name: string;
  readonly bytes: Uint8Array;
  /** Serves this principal's requests alone; absent is everybody's. */
  readonly principal?: string | undefined;
  readonly failurePolicy?: 'pass-through' | 'fail-closed' | undefined;
  readonly deadlineMs?: number | undefined;
}

/** All of it, as an operator writes it down. */
export interface Routes {
  readonly upstreams: readonly UpstreamRoute[];
  readonly principals: readonly PrincipalRoute[];
  /** Filters are asked in this order, everybody's before a principal's own; a principal's own shape beats everybody's. */
  readonly plugins: readonly PluginRoute[];
}

/** Throws where two plugins have one name: they would be two versions of one slot. */
export function checkNames(plugins: readonly PluginRoute[]): void {
  const names = plugins.map(({ principal, name }) => JSON.stringify([principal ?? null, name]));
  const repeated = names.find((name, index) => names.indexOf(name) < index);
  if (repeated !== undefined) throw new Error(`plugin ${repeated} is listed twice`);
}
