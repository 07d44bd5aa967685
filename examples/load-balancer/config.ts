/** The config file: addresses, workers, limits, the runtime's config, upstreams, principals, plugins. */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { validateHeaderValue } from 'node:http';
import { availableParallelism } from 'node:os';
import { dirname, resolve } from 'node:path';
import { hotEngineConfigSchema, inspectWasm } from 'cc-lb-runtime-wasmtime';
import type { z } from 'zod';
import { fileSchema } from './config-schema.ts';
import { pluginKey, pluginSchema, type Routes } from './routes.ts';
import { checkHash, checkSignature } from './trust.ts';

/** The host of addresses without one. */
const LOOPBACK = '127.0.0.1';

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
  const at: Report = (path, reason) => problems.push({ path: pathOf(path), reason });
  const parsed = fileSchema.safeParse(content);
  reportIssues(parsed.error?.issues, [], at);
  // Also checks what the schema cannot express, even if the schema fails, so that one run reports every problem.
  const given = objectOf(content);
  if (given.engine !== undefined) {
    reportIssues(hotEngineConfigSchema.safeParse(given.engine).error?.issues, ['engine'], at);
  }
  checkConsistency(given, at);
  const secrets = entries(given.upstreams).map(([index, { apiKeyVariable }]) =>
    secret(apiKeyVariable, ['upstreams', index, 'apiKeyVariable'], at),
  );
  const token = secret(objectOf(given.admin).tokenVariable, ['admin', 'tokenVariable'], at);
  const keys = readKeys(given.trustedKeys, at);
  const folder = dirname(file);
  const { path: pluginPath } = objectOf(given.pluginFolder);
  if (typeof pluginPath === 'string') await checkFolder(resolve(folder, pluginPath), at);
  const bytes = await Promise.all(
    entries(given.plugins).map(([index, plugin]) =>
      readPlugin(plugin, folder, keys, (reason) => at(['plugins', index, 'file'], reason)),
    ),
  );
  if (!parsed.success || problems.length > 0) throw new ConfigError(file, problems);

  const { admin: address, pluginFolder, workers, graceMs, log, trustedKeys: _, ...settings } = parsed.data;
  const { upstreams: routed, principals: known, plugins: listed, ...rest } = settings;
  const { tokenVariable: __, names = [], ...adminAddress } = address;
  const routes: Routes = {
    upstreams: routed.map(({ apiKeyVariable: _, ...upstream }, i) => ({ ...upstream, apiKey: secrets[i] })),
    principals: known,
    plugins: listed.map(({ file: _, sha256: __, ...plugin }, i) => ({ ...plugin, bytes: bytes[i]! })),
  };
  return {
    ...rest,
    admin: { ...adminAddress, names, token },
    workers: workers ?? availableParallelism(),
    graceMs: graceMs ?? 30_000,
    log: { level: log?.level ?? ('info' as const) },
    trustedKeys: keys,
    pluginFolder: pluginFolder && {
      path: resolve(folder, pluginFolder.path),
      settleMs: pluginFolder.settleMs ?? 500,
      maxTotalBytes: pluginFolder.maxTotalBytes ?? 256 * 1024 * 1024,
      maxPlugins: pluginFolder.maxPlugins ?? 250,
    },
    routes,
  };
}

type Path = readonly PropertyKey[];
type Report = (path: Path, reason: string) => void;
/** JSON whose schema was not checked, or failed. */
type Unchecked = Readonly<Record<string, unknown>>;

function reportIssues(issues: readonly z.core.$ZodIssue[] = [], below: Path, at: Report): void {
  for (const issue of issues) {
    const unknown = issue.code === 'unrecognized_keys' ? issue.keys : [];
    if (unknown.length === 0) at([...below, ...issue.path], issue.message);
    for (const key of unknown) at([...below, ...issue.path, key], 'unknown field');
  }
}

/** Checks values that depend on each other. */
function checkConsistency({ upstreams, principals, plugins, timeouts, listen, admin }: Unchecked, at: Report): void {
  const unique = (list: string, field: string, items: unknown, keyOf: (entry: Unchecked) => unknown) => {
    const keys = entries(items).map(([, entry]) => keyOf(entry));
    for (const [index, key] of keys.entries()) {
      if (key !== undefined && keys.indexOf(key) < index) at([list, index, field], 'another entry has the same value');
    }
  };
  // UUIDs that differ in case are equal.
  unique('upstreams', 'id', upstreams, ({ id }) => (typeof id === 'string' ? id.toLowerCase() : undefined));
  unique('upstreams', 'name', upstreams, ({ name }) => name);
  unique('principals', 'id', principals, ({ id }) => id);
  unique('principals', 'keySha256', principals, ({ keySha256 }) => keySha256);
  unique('plugins', 'name', plugins, ({ name, principal }) => {
    if (typeof name !== 'string') return undefined;
    return pluginKey(name, typeof principal === 'string' ? principal : undefined);
  });
  const ids = entries(principals).map(([, { id }]) => id);
  for (const [index, { principal }] of entries(plugins)) {
    if (principal !== undefined && !ids.includes(principal)) {
      at(['plugins', index, 'principal'], 'no principal has this id');
    }
  }
  const { requestMs, requestHeadersMs } = objectOf(timeouts);
  if (Number(requestHeadersMs) > Number(requestMs)) {
    at(['timeouts', 'requestHeadersMs'], 'longer than requestMs, which includes it');
  }
  const { port, host = LOOPBACK } = fileSchema.shape.listen.safeParse(listen).data ?? {};
  const { port: adminPort = 0, host: adminHost = LOOPBACK } = fileSchema.shape.admin.safeParse(admin).data ?? {};
  const isShared = [host, adminHost].some((name) => name === '0.0.0.0' || name === '::') || host === adminHost;
  if (adminPort > 0 && adminPort === port && isShared) at(['admin', 'port'], 'listen has the same port');
}

async function checkFolder(path: string, at: Report): Promise<void> {
  const reason = await stat(path).then(
    (found) => (found.isDirectory() ? null : 'it is not a directory'),
    (error: Error) => error.message,
  );
  if (reason !== null) at(['pluginFolder', 'path'], reason);
}

/** Reads and inspects a plugin. Returns no bytes if there is a problem. */
async function readPlugin(
  { file, kind, sha256 }: Unchecked,
  folder: string,
  keys: readonly KeyObject[],
  problem: (reason: string) => void,
): Promise<Buffer> {
  if (typeof file !== 'string') return Buffer.alloc(0);
  try {
    const path = resolve(folder, file);
    const content = await readFile(path);
    // The schema reports invalid options.
    const { shape } = pluginSchema;
    checkHash(content, shape.sha256.safeParse(sha256).data);
    if (keys.length > 0) checkSignature(content, await readFile(path.replace(/\.wasm$/, '.sig')), keys);
    const { problems } = inspectWasm(content, shape.kind.safeParse(kind).data);
    for (const reason of problems) problem(reason);
    return content;
  } catch (error) {
    problem((error as Error).message);
    return Buffer.alloc(0);
  }
}

/** Reads a secret from the environment. It is sent as a header, or compared with one. */
function secret(variable: unknown, path: Path, at: Report): string | undefined {
  if (typeof variable !== 'string') return undefined;
  const value = process.env[variable];
  if (value === undefined || value === '') {
    at(path, `environment variable ${variable} is not set`);
    return undefined;
  }
  try {
    validateHeaderValue('x-api-key', value);
  } catch {
    at(path, `environment variable ${variable} has a line break, or another character that a header cannot have`);
  }
  return value;
}

/** Reads the keys in PEM. */
function readKeys(pems: unknown, at: Report): KeyObject[] {
  const keys: KeyObject[] = [];
  for (const [index, pem] of Array.isArray(pems) ? pems.entries() : []) {
    const key = publicKey(pem);
    if (key === null) at(['trustedKeys', index], 'expected an Ed25519 public key in PEM');
    else keys.push(key);
  }
  return keys;
}

function publicKey(pem: unknown): KeyObject | null {
  try {
    const key = createPublicKey(String(pem));
    return key.asymmetricKeyType === 'ed25519' ? key : null;
  } catch {
    return null;
  }
}

/** Formats a path as `a.b[0].c`. */
function pathOf(path: Path): string {
  return path
    .map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`))
    .join('')
    .replace(/^\./, '');
}

function objectOf(value: unknown): Unchecked {
  return typeof value === 'object' && value !== null ? (value as Unchecked) : {};
}

/** Returns the objects of a value that may be a list, with their indexes. */
function entries(list: unknown): [number, Unchecked][] {
  const items: unknown[] = Array.isArray(list) ? list : [];
  return items.map((item, index) => [index, objectOf(item)]);
}
