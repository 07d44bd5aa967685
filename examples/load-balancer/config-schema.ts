/** The schema of the config file. */
import { createHash } from 'node:crypto';
import type { HotEngineConfigInput, Json } from 'cc-lb-runtime-wasmtime';
import { z } from 'zod';
import { millisecondsSchema as milliseconds, pluginSchema, sha256Schema } from './routes.ts';

const count = (min: number) => z.int().min(min);
const EMPTY_SHA256 = createHash('sha256').digest('hex');
const addressSchema = z.strictObject({ host: z.string().optional(), port: z.int().min(0).max(65_535).optional() });
const claimSchema = z.json() as z.ZodType<Json>;

/** A config file. What it cannot express is checked in `readConfig`. */
export const fileSchema = z.strictObject({
  listen: addressSchema.default({ port: 8080 }),
  admin: addressSchema
    .extend({
      /** The environment variable with the token for changes; without one, changes are rejected. */
      tokenVariable: z.string().min(1).optional(),
      /** DNS names by which operators reach the server, besides `localhost` and the host. */
      names: z.array(z.string().min(1).toLowerCase()).optional(),
    })
    .default({ port: 9090 }),
  /** Worker processes; by default one for each core. */
  workers: count(1).max(1_024).optional(),
  log: z.strictObject({ level: z.enum(['debug', 'info', 'warn', 'error', 'silent']).optional() }).optional(),
  /** Maximum time of running requests at shutdown. */
  graceMs: milliseconds.optional(),
  engine: (z.unknown() as z.ZodType<HotEngineConfigInput, HotEngineConfigInput>).optional(),
  limits: z
    .strictObject({
      bodyBytes: count(0),
      bufferedBytes: count(0),
      headerBytes: count(1_024),
      headers: count(1),
      requests: count(1),
      connections: count(1),
      upstreamConnections: count(1).nullable(),
    })
    .partial()
    .optional(),
  timeouts: z
    .strictObject({
      connectMs: milliseconds,
      headersMs: milliseconds,
      idleMs: milliseconds,
      requestHeadersMs: milliseconds,
      requestMs: milliseconds,
      keepAliveMs: milliseconds,
      streamCommentMs: milliseconds,
    })
    .partial()
    .optional(),
  breaker: z
    .strictObject({ failures: count(1), openMs: milliseconds })
    .partial()
    .optional(),
  upstreams: z
    .array(
      z.strictObject({
        id: z.uuid().toLowerCase(),
        name: z.string().min(1),
        baseUrl: z
          .url({ protocol: /^https?$/ })
          .refine(isBase, 'expected a URL without credentials, query and fragment'),
        /** The environment variable with the upstream's key. */
        apiKeyVariable: z.string().optional(),
      }),
    )
    .min(1),
  principals: z.array(
    z.strictObject({
      id: z.string().min(1),
      kind: z.enum(['api_key', 'oauth_subject', 'internal_key', 'workload_identity', 'subscription_bearer']),
      keySha256: sha256Schema.refine((hash) => hash !== EMPTY_SHA256, 'this is the SHA-256 of an empty key'),
      claims: z.record(z.string(), claimSchema).default({}),
    }),
  ),
  plugins: z.array(
    pluginSchema.extend({
      name: z.string().min(1),
      /** Relative to the config file. */
      file: z.string(),
    }),
  ),
  pluginFolder: z
    .strictObject({
      /** Relative to the config file. */
      path: z.string().min(1),
      settleMs: milliseconds.optional(),
      maxTotalBytes: count(0).optional(),
      maxPlugins: count(1).optional(),
    })
    .optional(),
  /**
   * Ed25519 public keys in PEM. If there are any, every plugin requires a signature: `NAME.sig` of its bytes beside its
   * file, and in the plugin folder `NAME.json.sig` of its options.
   */
  trustedKeys: z.array(z.string()).optional(),
});

/** Whether a target can be appended to a URL. The schema reports texts that are not URLs. */
function isBase(text: string): boolean {
  if (!URL.canParse(text)) return true;
  const { username, password, search, hash } = new URL(text);
  return username + password + search + hash === '';
}
