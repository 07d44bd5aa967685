import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ConfigError, readConfig } from '../../examples/load-balancer/config.ts';
import { guest } from './support.ts';

type Path = readonly (string | number)[];
/** Mutable JSON. */
type Tree = { [name: string | number]: Tree | string | number | boolean };

const example = fileURLToPath(new URL('../../examples/load-balancer/config.example.json', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'balancer-'));
const path = join(folder, 'config.json');
afterAll(() => rmSync(folder, { recursive: true }));
beforeEach(() => {
  process.env.ANTHROPIC_API_KEY = 'theirs';
});
afterEach(() => {
  delete process.env.ANTHROPIC_API_KEY;
});

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
  return { trustedKeys, pluginFolder: { path: 'plugins', settleMs: 1 }, ...content };
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

function read(content: Tree): ReturnType<typeof readConfig> {
  writeFileSync(path, JSON.stringify(content));
  return readConfig(path);
}

const fields = fieldsOf(wholeExample());
const named = (at: Path) => at.join('.').replace(/\.(\d+)/g, '[$1]');
const OPTIONAL = new Set([
  ...['listen', 'admin'].flatMap((address) => [address, `${address}.host`, `${address}.port`]),
  ...['engine', 'workers', 'graceMs', 'trustedKeys', 'admin.tokenVariable'],
  ...[
    'upstreams[0].apiKeyVariable',
    'principals[0].claims',
    'pluginFolder',
    'pluginFolder.settleMs',
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

  it('is rejected with the position of the error if it is not JSON', async () => {
    writeFileSync(path, '{"listen": }');
    await expect(readConfig(path)).rejects.toThrow(/JSON/);
  });
});
