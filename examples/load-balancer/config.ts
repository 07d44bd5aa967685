/** The config file: addresses, workers, limits, the runtime's config, upstreams, principals, plugins. */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { dirname, resolve } from 'node:path';
import { type HotEngineConfigInput, hotEngineConfigSchema, type Json } from 'cc-lb-runtime-wasmtime';
import { z } from 'zod';
import type { Routes } from './routes.ts';
import { checkTrust, parseSignature } from './trust.ts';

const count = (min: number) => z.int().min(min);
const milliseconds = z
  .int()
  .min(1)
  .max(2 ** 31 - 1);
const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'expected a SHA-256 in lower-case hex');
const addressSchema = z.strictObject({ host: z.string().optional(), port: z.int().min(0).max(65_535).optional() });
const claimSchema = z.json() as z.ZodType<Json>;

const fileSchema = z.strictObject({
  listen: addressSchema.default({ port: 8080 }),
  admin: addressSchema
    .extend({
      /** The environment variable with the token for changes; without one, changes are rejected. */
      tokenVariable: z.string().min(1).optional(),
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
        baseUrl: z.url({ protocol: /^https?$/ }),
        /** The environment variable with the upstream's key. */
        apiKeyVariable: z.string().optional(),
      }),
    )
    .min(1),
  principals: z.array(
    z.strictObject({
      id: z.string().min(1),
      kind: z.enum(['api_key', 'oauth_subject', 'internal_key', 'workload_identity', 'subscription_bearer']),
      keySha256: sha256,
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
      sha256: sha256.optional(),
    }),
  ),
  pluginFolder: z
    .strictObject({
      /** Relative to the config file. */
      path: z.string().min(1),
      settleMs: milliseconds.optional(),
    })
    .optional(),
  /**
   * Ed25519 public keys in PEM. If there are any, every plugin requires a signature, `NAME.sig` in the folder of its
   * file.
   */
  trustedKeys: z.array(z.string()).optional(),
});

/** A problem of a config file. */
export interface ConfigProblem {
  /** Such as `upstreams[0].id`; empty is the whole file. */
  readonly path: string;
  readonly reason: string;
}

/** Reports all problems of a config file. */
export class ConfigError extends Error {
  readonly problems: readonly ConfigProblem[];

  constructor(file: string, problems: readonly ConfigProblem[]) {
    super(
      `${file}: ${problems.map(({ path, reason }) => `\n  ✖ ${reason}\n    → at ${path || '(the file)'}`).join('')}`,
    );
    this.name = 'ConfigError';
    this.problems = problems;
  }
}

/** A parsed config file. */
export type Config = Awaited<ReturnType<typeof readConfig>>;

/** Reads a config file and its plugins. Rejects with a ConfigError that lists every problem. */
export async function readConfig(file: string) {
  let content: unknown;
  try {
    content = JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    throw new ConfigError(file, [{ path: '', reason: (error as Error).message }]);
  }
  const problems: ConfigProblem[] = [];
  const at = (path: readonly PropertyKey[], reason: string) => problems.push({ path: pathOf(path), reason });
  const parsed = fileSchema.safeParse(content);
  const schemaProblems = (issues: readonly z.core.$ZodIssue[], below: readonly PropertyKey[]) => {
    for (const issue of issues) {
      const unknown = issue.code === 'unrecognized_keys' ? issue.keys : [];
      if (unknown.length === 0) at([...below, ...issue.path], issue.message);
      for (const key of unknown) at([...below, ...issue.path, key], 'unknown field');
    }
  };
  schemaProblems(parsed.error?.issues ?? [], []);
  const { engine, upstreams, principals, plugins, trustedKeys, admin } = (content ?? {}) as Record<string, unknown>;
  if (engine !== undefined) schemaProblems(hotEngineConfigSchema.safeParse(engine).error?.issues ?? [], ['engine']);
  // Also checks what the schema cannot express, even if the schema fails, so that one run reports every problem.
  const secrets = entries(upstreams).map(([index, upstream]) =>
    secret(upstream.apiKeyVariable, (reason) => at(['upstreams', index, 'apiKeyVariable'], reason)),
  );
  const { tokenVariable } = (admin ?? {}) as Record<string, unknown>;
  const token = secret(tokenVariable, (reason) => at(['admin', 'tokenVariable'], reason));
  for (const [list, name, items] of [
    ['upstreams', 'id', upstreams],
    ['upstreams', 'name', upstreams],
    ['principals', 'id', principals],
    ['principals', 'keySha256', principals],
  ] as const) {
    for (const index of repeated(items, (entry) => entry[name]))
      at([list, index, name], 'another entry has the same value');
  }
  for (const index of repeated(plugins, ({ principal, name }) => JSON.stringify([principal ?? null, name]))) {
    at(['plugins', index, 'name'], 'another plugin has the same name');
  }
  const keys: KeyObject[] = [];
  for (const [index, pem] of Array.isArray(trustedKeys) ? trustedKeys.entries() : []) {
    const key = publicKey(pem);
    if (key === null) at(['trustedKeys', index], 'expected an Ed25519 public key in PEM');
    else keys.push(key);
  }
  const bytes = await Promise.all(
    entries(plugins).map(async ([index, plugin]) => {
      try {
        const path = resolve(dirname(file), String(plugin.file));
        const content = await readFile(path);
        const signature =
          keys.length === 0 ? undefined : parseSignature(await readFile(path.replace(/\.wasm$/, '.sig')));
        checkTrust(content, { sha256: plugin.sha256 as string | undefined, signature }, keys);
        return content;
      } catch (error) {
        if (typeof plugin.file === 'string') at(['plugins', index, 'file'], (error as Error).message);
        return Buffer.alloc(0);
      }
    }),
  );
  if (!parsed.success || problems.length > 0) throw new ConfigError(file, problems);

  const { admin: address, pluginFolder, workers, graceMs, log, trustedKeys: _, ...settings } = parsed.data;
  const { upstreams: routed, principals: known, plugins: listed, ...rest } = settings;
  const { tokenVariable: __, ...adminAddress } = address;
  const routes: Routes = {
    upstreams: routed.map(({ apiKeyVariable: _, ...upstream }, i) => ({ ...upstream, apiKey: secrets[i] })),
    principals: known,
    plugins: listed.map(({ file: _, sha256: __, ...plugin }, i) => ({ ...plugin, bytes: bytes[i]! })),
  };
  return {
    ...rest,
    admin: { ...adminAddress, token },
    workers: workers ?? availableParallelism(),
    graceMs: graceMs ?? 30_000,
    log: { level: log?.level ?? ('info' as const) },
    trustedKeys: keys,
    pluginFolder: pluginFolder && {
      path: resolve(dirname(file), pluginFolder.path),
      settleMs: pluginFolder.settleMs ?? 500,
    },
    routes,
  };
}

/** Formats a path as `a.b[0].c`. */
function pathOf(path: readonly PropertyKey[]): string {
  return path
    .map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`))
    .join('')
    .replace(/^\./, '');
}

/** Returns the objects of a value that may be a list, with their indexes. */
function entries(list: unknown): [number, Record<string, unknown>][] {
  const items: unknown[] = Array.isArray(list) ? list : [];
  return items.map((item, index) => [
    index,
    (typeof item === 'object' && item !== null ? item : {}) as Record<string, unknown>,
  ]);
}

/** Returns the indexes of entries whose key an earlier entry has. */
function repeated(list: unknown, keyOf: (entry: Record<string, unknown>) => unknown): number[] {
  const keys = entries(list).map(([, entry]) => keyOf(entry));
  return keys.flatMap((key, index) => (key !== undefined && keys.indexOf(key) < index ? [index] : []));
}

function secret(variable: unknown, problem: (reason: string) => void): string | undefined {
  if (typeof variable !== 'string') return undefined;
  const value = process.env[variable];
  if (value === undefined || value === '') problem(`environment variable ${variable} is not set`);
  return value;
}

function publicKey(pem: unknown): KeyObject | null {
  try {
    const key = createPublicKey(String(pem));
    return key.asymmetricKeyType === 'ed25519' ? key : null;
  } catch {
    return null;
  }
}
