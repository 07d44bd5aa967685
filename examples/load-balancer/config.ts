/** The file that an operator writes: addresses, the runtime's config, upstreams, principals, plugins. */
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { HotEngineConfigInput, Json } from 'cc-lb-runtime-wasmtime';
import { z } from 'zod';
import type { Routes } from './routes.ts';

const addressSchema = z.strictObject({ host: z.string().optional(), port: z.int().min(0).max(65_535).optional() });
const claimSchema = z.json() as z.ZodType<Json>;

const count = (min: number) => z.int().min(min);
const milliseconds = z
  .int()
  .min(1)
  .max(2 ** 31 - 1);

const fileSchema = z.strictObject({
  listen: addressSchema.default({ port: 8080 }),
  admin: addressSchema.default({ port: 9090 }),
  /** The runtime judges it, and says which field is wrong. */
  engine: z.unknown().optional() as z.ZodType<HotEngineConfigInput | undefined, HotEngineConfigInput | undefined>,
  limits: z
    .strictObject({
      bodyBytes: count(0),
      headerBytes: count(1_024),
      headers: count(1),
      requests: count(1),
      connections: count(1),
      upstreamConnections: z.int().min(1).nullable(),
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
        baseUrl: z.url(),
        /** The environment variable that holds the upstream's key. */
        apiKeyVariable: z.string().optional(),
      }),
    )
    .min(1),
  principals: z.array(
    z.strictObject({
      id: z.string().min(1),
      kind: z.enum(['api_key', 'oauth_subject', 'internal_key', 'workload_identity', 'subscription_bearer']),
      keySha256: z.string().regex(/^[0-9a-f]{64}$/, 'expected a SHA-256 in lower-case hex'),
      claims: z.record(z.string(), claimSchema).default({}),
    }),
  ),
  plugins: z.array(
    z.strictObject({
      kind: z.enum(['filter', 'shape', 'observe']),
      name: z.string().min(1),
      /** Relative to the file that names it. */
      file: z.string(),
      principal: z.string().optional(),
      failurePolicy: z.enum(['pass-through', 'fail-closed']).optional(),
      deadlineMs: z.int().min(1).optional(),
    }),
  ),
});

/** A config file, read. */
export type Config = Awaited<ReturnType<typeof readConfig>>;

/** Reads a config file and the plugins that it names. Rejects with what is wrong with it. */
export async function readConfig(path: string) {
  const parsed = fileSchema.safeParse(JSON.parse(await readFile(path, 'utf8')));
  if (!parsed.success) throw new Error(`${path}: ${z.prettifyError(parsed.error)}`);
  const { upstreams, principals, plugins, ...settings } = parsed.data;
  const routes: Routes = {
    upstreams: upstreams.map(({ apiKeyVariable, ...upstream }) => ({ ...upstream, apiKey: secret(apiKeyVariable) })),
    principals,
    plugins: await Promise.all(
      plugins.map(async ({ file, ...plugin }) => ({ ...plugin, bytes: await readFile(resolve(dirname(path), file)) })),
    ),
  };
  return { ...settings, routes };
}

function secret(variable: string | undefined): string | undefined {
  if (variable === undefined) return undefined;
  const value = process.env[variable];
  if (value === undefined) throw new Error(`environment variable ${variable} is not set`);
  return value;
}
