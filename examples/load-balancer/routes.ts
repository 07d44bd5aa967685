/** Routes: upstreams, principals and plugins. Plain data, so that it can be sent between processes. */
import { type Principal, SlotKey } from 'cc-lb-runtime-wasmtime';

/** A server that answers requests. */
export interface UpstreamRoute {
  /** A UUID. */
  readonly id: string;
  readonly name: string;
  readonly baseUrl: string;
  /** Sent as x-api-key instead of the client's. */
  readonly apiKey?: string | undefined;
}

/** A client that may send requests. */
export interface PrincipalRoute extends Principal {
  /** SHA-256 of the principal's key in lower-case hex; the key itself is not stored. */
  readonly keySha256: string;
}

/** A plugin and its principal. */
export interface PluginRoute {
  readonly kind: 'filter' | 'shape' | 'observe';
  readonly name: string;
  readonly bytes: Uint8Array;
  /** The principal whose requests it serves; absent is all principals. */
  readonly principal?: string | undefined;
  readonly failurePolicy?: 'pass-through' | 'fail-closed' | undefined;
  readonly deadlineMs?: number | undefined;
}

/** The routes as configured by an operator. */
export interface Routes {
  readonly upstreams: readonly UpstreamRoute[];
  readonly principals: readonly PrincipalRoute[];
  /**
   * Filters are called in this order, global ones before those of a principal. A principal's shape replaces the global
   * one.
   */
  readonly plugins: readonly PluginRoute[];
}

/** Returns the key of a plugin's slot. Without a principal, the plugin serves all principals. */
export function slotKeyOf(plugin: string, principal?: string): SlotKey {
  return principal === undefined ? SlotKey.global(plugin) : new SlotKey(principal, plugin);
}

/** Returns the text by which plugins are compared: two with the same text are versions of one slot. */
export function pluginKey(plugin: string, principal?: string): string {
  return slotKeyOf(plugin, principal).toString();
}

/** Throws if two plugins have the same name, because they would be two versions of one slot. */
export function checkNames(plugins: readonly PluginRoute[]): void {
  const keys = plugins.map(({ name, principal }) => pluginKey(name, principal));
  const repeated = keys.find((key, index) => keys.indexOf(key) < index);
  if (repeated !== undefined) throw new Error(`plugin ${repeated} is listed twice`);
}
