import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readConfig } from '../../examples/load-balancer/config.ts';
import { guest } from './support.ts';

type Path = readonly (string | number)[];
/** JSON whose fields a test changes. */
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

/** The example with every field that it leaves out, and paths that hold from another folder. */
function wholeExample(): Tree {
  const content = JSON.parse(readFileSync(example, 'utf8'));
  for (const entry of content.plugins) {
    entry.file = resolve(dirname(example), entry.file);
    Object.assign(entry, { principal: 'team-a', failurePolicy: 'pass-through', deadlineMs: 20, ...entry });
  }
  const limits = { bodyBytes: 1_000_000, headerBytes: 8_192, headers: 50, requests: 10, connections: 20 };
  const waits = { connectMs: 1, headersMs: 1, idleMs: 1, requestHeadersMs: 1, requestMs: 1 };
  const timeouts = { ...waits, keepAliveMs: 1, streamCommentMs: 1 };
  return { limits, timeouts, breaker: { failures: 3, openMs: 1 }, ...content };
}

/** Every field in objects of `tree`, elements of arrays left out; what is inside `engine` and claims is judged elsewhere. */
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
  ...['engine', 'upstreams[0].apiKeyVariable', 'principals[0].claims'],
  ...['limits', 'timeouts', 'breaker'].flatMap((group) => {
    const whole = wholeExample()[group] as Tree;
    return [group, ...Object.keys(whole).map((name) => `${group}.${name}`)];
  }),
  ...[0, 1, 2].flatMap((plugin) =>
    ['principal', 'failurePolicy', 'deadlineMs'].map((name) => `plugins[${plugin}].${name}`),
  ),
]);

describe('the config file', () => {
  it('of the example is read, with its plugins and keys', async () => {
    const { routes, listen } = await readConfig(example);
    expect(listen.port).toBe(8080);
    expect(routes.upstreams[0]).toMatchObject({ name: 'anthropic', apiKey: 'theirs' });
    expect(Buffer.compare(routes.plugins[0]!.bytes, guest('cache-aware'))).toBe(0);
  });

  it('must not name an environment variable that is not set', async () => {
    delete process.env.ANTHROPIC_API_KEY;
    await expect(readConfig(example)).rejects.toThrow(/ANTHROPIC_API_KEY is not set/);
  });

  it('reaches the balancer with every field', async () => {
    const content = wholeExample();
    const { upstreams, principals, plugins, ...settings } = content;
    const { routes, ...rest } = await read(content);
    expect(rest).toEqual(settings);
    const { apiKeyVariable: _, ...upstream } = (upstreams as Tree)[0] as Tree;
    expect(routes.upstreams).toEqual([{ ...upstream, apiKey: 'theirs' }]);
    expect(routes.principals).toEqual(principals);
    for (const [index, { bytes, ...plugin }] of routes.plugins.entries()) {
      const { file, ...expected } = (plugins as Tree)[index] as Tree;
      expect(plugin).toEqual(expected);
      expect(Buffer.compare(bytes, readFileSync(file as string))).toBe(0);
    }
  });

  it('has the optional fields that are listed here', () => {
    expect([...OPTIONAL].filter((name) => !fields.some((at) => named(at) === name))).toEqual([]);
  });

  it.each(fields.filter((at) => OPTIONAL.has(named(at))).map((at) => [named(at), at] as const))(
    'may leave out %s',
    async (_, at) => {
      const content = wholeExample();
      delete holderOf(content, at)[at.at(-1)!];
      await expect(read(content)).resolves.toBeDefined();
    },
  );

  it.each(fields.filter((at) => !OPTIONAL.has(named(at))).map((at) => [named(at), at] as const))(
    'must not leave out %s',
    async (name, at) => {
      const content = wholeExample();
      delete holderOf(content, at)[at.at(-1)!];
      await expect(read(content)).rejects.toThrow(`at ${name}`);
    },
  );

  const judged = fields.filter((at) => at[0] !== 'engine');
  it.each(judged.map((at) => [named(at), at] as const))(
    'that has a wrong %s is refused with the field',
    async (name, at) => {
      const content = wholeExample();
      holderOf(content, at)[at.at(-1)!] = true;
      await expect(read(content)).rejects.toThrow(`at ${name}`);
    },
  );

  it.each([
    ['an unknown field', { port: 1 }, /port/],
    ['no upstream', { upstreams: [] as unknown as Tree }, /upstreams/],
  ] as [string, Tree, RegExp][])('with %s is refused', async (_, change, message) => {
    await expect(read({ ...wholeExample(), ...change })).rejects.toThrow(message);
  });
});
