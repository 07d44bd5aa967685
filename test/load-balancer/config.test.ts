import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ConfigError, readConfig } from '../../examples/load-balancer/config.ts';
import { LoadBalancer } from '../../examples/load-balancer/load-balancer.ts';
import { plugin as guest } from '../support/plugins.ts';

type Path = readonly (string | number)[];
/** Mutable JSON. */
type Tree = { [name: string | number]: Tree | string | number | boolean };

const example = fileURLToPath(new URL('../../examples/load-balancer/config.example.json', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'balancer-'));
const path = join(folder, 'config.json');
mkdirSync(join(folder, 'plugins'));
afterAll(() => rmSync(folder, { recursive: true }));
beforeEach(() => {
  process.env.ANTHROPIC_API_KEY = 'theirs';
});
afterEach(() => {
  delete process.env.ANTHROPIC_API_KEY;
});

const EMPTY_SHA256 = createHash('sha256').digest('hex');
const { publicKey, privateKey } = generateKeyPairSync('ed25519');

/** The example with every field that it leaves out, and signed copies of its plugins. */
function wholeExample(): Tree {
  const content = JSON.parse(readFileSync(example, 'utf8'));
  for (const entry of content.plugins) {
    const bytes = readFileSync(resolve(dirname(example), entry.file));
    entry.file = join(folder, basename(entry.file));
    writeFileSync(entry.file, bytes);
    writeFileSync(entry.file.replace('.wasm', '.sig'), sign(null, bytes, privateKey));
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    Object.assign(entry, { principal: 'team-a', failurePolicy: 'pass-through', deadlineMs: 20, sha256, ...entry });
  }
  content.admin.tokenVariable = 'ANTHROPIC_API_KEY';
  const trustedKeys = [publicKey.export({ type: 'spki', format: 'pem' })];
  const pluginFolder = { path: 'plugins', settleMs: 1, maxTotalBytes: 2, maxPlugins: 3 };
  return { trustedKeys, pluginFolder, ...content };
}

/**
 * Every field in objects of `tree`, elements of arrays left out; what is inside `engine` and claims is judged
 * elsewhere.
 */
function fieldsOf(tree: Tree, above: Path = []): Path[] {
  return Object.entries(tree).flatMap(([name, value]) => {
    const at = [...above, Array.isArray(tree) ? Number(name) : name];
    const inside =
      typeof value === 'object' && name !== 'engine' && name !== 'claims' ? fieldsOf(value as Tree, at) : [];
    return Array.isArray(tree) ? inside : [at, ...inside];
  });
}

function holderOf(tree: Tree, at: Path): Tree {
  return at.slice(0, -1).reduce((holder, name) => holder[name] as Tree, tree);
}

/** Returns a function that changes one field. */
function change(at: Path, value: string | number): (content: Tree) => void {
  return (content) => {
    holderOf(content, at)[at.at(-1)!] = value;
  };
}

function withBaseUrl(url: string): (content: Tree) => void {
  return change(['upstreams', 0, 'baseUrl'], url);
}

/** Adds an upstream whose id differs in case. */
function duplicateUpstream({ upstreams }: Tree): void {
  const [first] = upstreams as unknown as Tree[];
  (upstreams as unknown as Tree[]).push({ ...first, id: String(first!.id).toUpperCase(), name: 'other' });
}

function read(content: Tree): ReturnType<typeof readConfig> {
  writeFileSync(path, JSON.stringify(content));
  return readConfig(path);
}

const fields = fieldsOf(wholeExample());
const named = (at: Path) => at.join('.').replace(/\.(\d+)/g, '[$1]');
const OPTIONAL = new Set([
  ...['listen', 'admin'].flatMap((address) => [address, `${address}.host`, `${address}.port`]),
  ...['engine', 'workers', 'graceMs', 'trustedKeys', 'admin.tokenVariable', 'admin.names'],
  ...[
    'upstreams[0].apiKeyVariable',
    'principals[0].claims',
    'pluginFolder',
    ...['settleMs', 'maxTotalBytes', 'maxPlugins'].map((name) => `pluginFolder.${name}`),
    'log',
    'log.level',
  ],
  ...['limits', 'timeouts', 'breaker'].flatMap((group) => {
    const whole = wholeExample()[group] as Tree;
    return [group, ...Object.keys(whole).map((name) => `${group}.${name}`)];
  }),
  ...[0, 1, 2].flatMap((plugin) =>
    ['principal', 'failurePolicy', 'deadlineMs', 'sha256'].map((name) => `plugins[${plugin}].${name}`),
  ),
]);

describe('a config file', () => {
  it('is read with its plugins and keys', async () => {
    const { routes, listen } = await readConfig(example);
    expect(listen.port).toBe(8080);
    expect(routes.upstreams[0]).toMatchObject({ name: 'anthropic', apiKey: 'theirs' });
    expect(Buffer.compare(routes.plugins[0]!.bytes, guest('cache-aware'))).toBe(0);
  });

  it('must not name an unset environment variable', async () => {
    delete process.env.ANTHROPIC_API_KEY;
    await expect(readConfig(example)).rejects.toThrow(/ANTHROPIC_API_KEY is not set/);
  });

  it('passes every field to the load balancer', async () => {
    const content = wholeExample();
    const { upstreams, principals, plugins, ...settings } = content;
    const { routes, ...rest } = await read(content);
    const { tokenVariable: __, ...admin } = settings.admin as Tree;
    const folder = { ...(settings.pluginFolder as Tree), path: resolve(dirname(path), 'plugins') };
    const trustedKeys = rest.trustedKeys.map((key) => key.export({ type: 'spki', format: 'pem' }));
    expect({ ...rest, trustedKeys }).toEqual({
      ...settings,
      admin: { ...admin, token: 'theirs' },
      pluginFolder: folder,
    });
    const { apiKeyVariable: _, ...upstream } = (upstreams as Tree)[0] as Tree;
    expect(routes.upstreams).toEqual([{ ...upstream, apiKey: 'theirs' }]);
    expect(routes.principals).toEqual(principals);
    for (const [index, { bytes, ...plugin }] of routes.plugins.entries()) {
      const { file, sha256: _, ...expected } = (plugins as Tree)[index] as Tree;
      expect(plugin).toEqual(expected);
      expect(Buffer.compare(bytes, readFileSync(file as string))).toBe(0);
    }
  });

  it('has exactly the optional fields of this list', () => {
    expect([...OPTIONAL].filter((name) => !fields.some((at) => named(at) === name))).toEqual([]);
  });

  it.each(fields.filter((at) => OPTIONAL.has(named(at))).map((at) => [named(at), at] as const))(
    'may omit %s',
    async (_, at) => {
      const content = wholeExample();
      delete holderOf(content, at)[at.at(-1)!];
      await expect(read(content)).resolves.toBeDefined();
    },
  );

  it.each(fields.filter((at) => !OPTIONAL.has(named(at))).map((at) => [named(at), at] as const))(
    'must not omit %s',
    async (name, at) => {
      const content = wholeExample();
      delete holderOf(content, at)[at.at(-1)!];
      await expect(read(content)).rejects.toThrow(`at ${name}`);
    },
  );

  const judged = fields.filter((at) => at[0] !== 'engine');
  it.each(judged.map((at) => [named(at), at] as const))(
    'with an invalid %s is rejected with the field',
    async (name, at) => {
      const content = wholeExample();
      holderOf(content, at)[at.at(-1)!] = true;
      await expect(read(content)).rejects.toThrow(`at ${name}`);
    },
  );

  it.each([
    ['an unknown field', { port: 1 }, /port/],
    ['no upstream', { upstreams: [] as unknown as Tree }, /upstreams/],
  ] as [string, Tree, RegExp][])('with %s is rejected', async (_, change, message) => {
    await expect(read({ ...wholeExample(), ...change })).rejects.toThrow(message);
  });

  it('is rejected with all of its problems, each with path and reason', async () => {
    const content = wholeExample();
    delete process.env.ANTHROPIC_API_KEY;
    const [upstream, plugins] = [(content.upstreams as Tree)[0] as Tree, content.plugins as Record<number, Tree>];
    upstream.id = 'not a UUID';
    content.upstreams = [upstream, { ...upstream, baseUrl: 'ftp://files.test' }] as unknown as Tree;
    content.engine = { deadlineMs: 0, unheardOf: 1 };
    plugins[0]!.file = 'missing.wasm';
    plugins[1]!.sha256 = '0'.repeat(64);
    plugins[2]!.name = plugins[1]!.name as string;
    (content.limits as Tree).requests = 0;
    content.trustedKeys = [(content.trustedKeys as Tree)[0], 'no key'] as unknown as Tree;
    content.port = 1;
    const error = await read(content).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ConfigError);
    const problems = new Map((error as ConfigError).problems.map(({ path, reason }) => [path, reason]));
    expect([...problems.keys()].sort()).toEqual([
      ...['admin.tokenVariable', 'engine.deadlineMs', 'engine.unheardOf', 'limits.requests'],
      ...['plugins[0].file', 'plugins[1].file', 'plugins[2].name', 'port', 'trustedKeys[1]'],
      ...['upstreams[0].apiKeyVariable', 'upstreams[0].id', 'upstreams[1].apiKeyVariable'],
      ...['upstreams[1].baseUrl', 'upstreams[1].id', 'upstreams[1].name'],
    ]);
    expect(problems.get('plugins[1].file')).toMatch(/SHA-256/);
    expect(problems.get('port')).toBe('unknown field');
  });

  it.each([
    ['ids of upstreams that differ in case', 'upstreams[1].id', (content) => duplicateUpstream(content)],
    ['credentials in a base URL', 'upstreams[0].baseUrl', withBaseUrl('https://user:secret@api.test')],
    ['a query in a base URL', 'upstreams[0].baseUrl', withBaseUrl('https://api.test/?a=1')],
    ['a fragment in a base URL', 'upstreams[0].baseUrl', withBaseUrl('https://api.test/#a')],
    ['the hash of an empty key', 'principals[0].keySha256', change(['principals', 0, 'keySha256'], EMPTY_SHA256)],
    ['a plugin of an unknown principal', 'plugins[0].principal', change(['plugins', 0, 'principal'], 'nobody')],
    ['a plugin without the hook of its kind', 'plugins[0].file', change(['plugins', 0, 'kind'], 'observe')],
    ['a deadline that no timer can have', 'plugins[0].deadlineMs', change(['plugins', 0, 'deadlineMs'], 2 ** 31)],
    ['a missing plugin folder', 'pluginFolder.path', change(['pluginFolder', 'path'], 'missing')],
    ['a plugin folder that is a file', 'pluginFolder.path', change(['pluginFolder', 'path'], 'config.json')],
    ['contradictory time limits', 'timeouts.requestHeadersMs', change(['timeouts', 'requestMs'], 5_000)],
    ['one port for requests and operators', 'admin.port', change(['admin', 'port'], 8_080)],
  ] as [string, string, (content: Tree) => void][])('with %s is rejected', async (_, name, mistake) => {
    const content = wholeExample();
    mistake(content);
    const error = await read(content).catch((reason: unknown) => reason);
    expect((error as ConfigError).problems.map((problem) => problem.path)).toEqual([name]);
  });

  it('with a plugin that is not a module is rejected with every problem of the file', async () => {
    const content = wholeExample();
    const file = join(folder, 'text.wasm');
    writeFileSync(file, 'text');
    content.plugins = [{ kind: 'filter', name: 'text', file }] as unknown as Tree;
    delete content.trustedKeys;
    const error = await read(content).catch((reason: unknown) => reason);
    const problems = (error as ConfigError).problems.map((problem) => `${problem.path}: ${problem.reason}`);
    expect(problems).toContainEqual(expect.stringMatching(/^plugins\[0\]\.file: not a wasm module/));
  });

  it('with a secret that has a line break is rejected', async () => {
    process.env.ANTHROPIC_API_KEY = 'theirs\n';
    await expect(readConfig(example)).rejects.toThrow(/ANTHROPIC_API_KEY has a line break/);
  });

  it('may limit only the time of the whole request', async () => {
    const content = wholeExample();
    content.timeouts = { requestMs: 5_000 };
    const { timeouts } = await read(content);
    const balancer = new LoadBalancer({ timeouts });
    await balancer.close();
  });

  it('is rejected with the position of the error if it is not JSON', async () => {
    writeFileSync(path, '{"listen": }');
    await expect(readConfig(path)).rejects.toThrow(/JSON/);
  });
});
