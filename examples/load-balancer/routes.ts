/** Routes: upstreams, principals and plugins. Plain data, so that it can be sent between processes. */
import { type Principal, SlotKey } from 'cc-lb-runtime-wasmtime';
import { z } from 'zod';

/** A SHA-256 in lower-case hex. */
export const sha256Schema = z.string().regex(/^[0-9a-f]{64}$/, 'expected a SHA-256 in lower-case hex');
/** Milliseconds up to the maximum of timers. */
export const millisecondsSchema = z
  .int()
  .min(1)
  .max(2 ** 31 - 1);
/** The options of a plugin, in a config file and in `NAME.json` of the plugin folder. */
export const pluginSchema = z.strictObject({
  kind: z.enum(['filter', 'shape', 'observe']),
  /** The id of the principal whose requests it serves; absent is all principals. */
  principal: z.string().min(1).optional(),
  failurePolicy: z.enum(['pass-through', 'fail-closed']).optional(),
  deadlineMs: millisecondsSchema.optional(),
  sha256: sha256Schema.optional(),
});

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

/** A plugin with its options, which were checked with `sha256`. */
export interface PluginRoute extends Readonly<Omit<z.infer<typeof pluginSchema>, 'sha256'>> {
  readonly name: string;
  readonly bytes: Uint8Array;
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
  const keys = new Set<string>();
  for (const { name, principal } of plugins) {
    const key = pluginKey(name, principal);
    if (keys.has(key)) throw new Error(`plugin ${key} is listed twice`);
    keys.add(key);
  }
}
