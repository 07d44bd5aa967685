import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { brokenLinks } from '../scripts/links.mjs';
import { packedFiles } from '../scripts/packed.mjs';
import { GLIBC_BASELINE, prebuildPath, TARGETS } from '../scripts/prebuild-targets.mjs';
import { run } from '../src/cli/run.ts';
import {
  defaultHotEngineConfig,
  type HotEngineConfig,
  hotEngineConfigSchema,
  lowLatencyHotEngineConfig,
  productionHotEngineConfig,
  prometheusSink,
  SlotKey,
  WasmtimeRuntime,
} from '../src/index.ts';
import { EVENT_LIMITS } from '../src/policy/bounds.ts';
import { MAX_TYPE_UNITS } from '../src/sse/event.ts';
import { MAX_LINES } from '../src/sse/line-ends.ts';
import { asyncSlotOptionsSchema } from '../src/versions.ts';
import { plugin } from './support/plugins.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const page = (name: string) => readFileSync(join(root, name), 'utf8');
/** The cells of every table row whose first cell is in backticks. */
function rows(text: string): string[][] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}

const unquoted = (cell: string) => cell.replaceAll('`', '');

describe('the configuration table', () => {
  interface Field {
    readonly default?: unknown;
    readonly minimum?: number;
    readonly maximum?: number;
    readonly enum?: readonly string[];
    readonly type?: string | readonly string[];
    readonly anyOf?: readonly Field[];
    readonly properties?: Readonly<Record<string, Field>>;
  }
  const schema = z.toJSONSchema(hotEngineConfigSchema, { io: 'input' }) as Field;
  const fields = (field: Field, prefix = ''): [string, Field][] =>
    Object.entries(field.properties ?? {}).flatMap(([name, inner]) =>
      inner.properties ? fields(inner, `${prefix}${name}.`) : [[prefix + name, inner] as [string, Field]],
    );

  it('has every field of the schema with its default and range', () => {
    const defaults = defaultHotEngineConfig();
    const expected = fields(schema).map(([name, field]) => {
      const value = name.split('.').reduce<unknown>((at, part) => (at as Record<string, unknown>)[part], defaults);
      return [name, String(value), values(field)];
    });
    const written = rows(page('docs/configuration.md'))
      .filter((row) => row.length === 5)
      .map((row) => row.slice(0, 3).map(unquoted));
    expect(written).toEqual(expected);
  });

  it('lists the fields that the recommended configs set', () => {
    const written = rows(page('docs/configuration.md')).filter(([name]) => name!.endsWith('()`'));
    expect(written.map(([name, sets]) => [unquoted(name!), unquoted(sets!)])).toEqual([
      ['productionHotEngineConfig()', changes(productionHotEngineConfig())],
      ['lowLatencyHotEngineConfig()', changes(lowLatencyHotEngineConfig())],
    ]);
  });

  it('is followed by every option of a registration with its default', () => {
    const section = page('docs/configuration.md').split('`…Async` forms:\n')[1]!;
    const options = Object.keys(asyncSlotOptionsSchema.unwrap().shape);
    expect(rows(section).map(([name]) => unquoted(name!))).toEqual(options);
    using runtime = new WasmtimeRuntime();
    const { current } = runtime.registerShape(SlotKey.global('echo'), 'echo', plugin('echo'));
    for (const [name, value] of rows(section)) {
      const written = unquoted(value!).replaceAll("'", '');
      const config = runtime.config as unknown as Record<string, unknown>;
      const actual = (current as unknown as Record<string, unknown>)[unquoted(name!)];
      expect([name, String(actual ?? 'none')]).toEqual([name, String(config[written] ?? written)]);
    }
  });

  function values({ anyOf, enum: choices, type, minimum, maximum }: Field): string {
    const types = anyOf?.map(({ type }) => type) ?? (Array.isArray(type) ? type : []);
    if (types.length > 0) return types.join(' or ');
    if (choices !== undefined) return choices.join(', ');
    if (type === 'boolean') return 'true, false';
    return maximum === Number.MAX_SAFE_INTEGER ? `from ${minimum}` : `${minimum} to ${maximum}`;
  }

  function changes(config: HotEngineConfig): string {
    const defaults = new Map(flat(defaultHotEngineConfig()));
    return flat(config)
      .filter(([name, value]) => value !== defaults.get(name))
      .map(([name, value]) => `${name}: ${typeof value === 'string' ? `'${value}'` : value}`)
      .join(', ');
  }

  function flat(config: object, prefix = ''): [string, unknown][] {
    return Object.entries(config).flatMap(([name, value]) =>
      typeof value === 'object' && value !== null
        ? flat(value, `${prefix}${name}.`)
        : [[prefix + name, value] as [string, unknown]],
    );
  }
});

it('the README has at most 200 lines', () => {
  expect(page('README.md').split('\n').length).toBeLessThanOrEqual(200);
});

it('the documents list every metric with its kind and labels', async () => {
  const registry = new Registry();
  using runtime = new WasmtimeRuntime({}, { metrics: prometheusSink(registry) });
  runtime.publishPoolMetrics();
  const expected = (await registry.getMetricsAsJSON()).map(({ name, type }) => {
    const { labelNames } = registry.getSingleMetric(name) as unknown as { labelNames: readonly string[] };
    return [name, String(type), labelNames.join(', ')];
  });
  const series = rows(page('docs/operations.md')).filter(([name]) => unquoted(name!).startsWith('cc_lb_'));
  const written = series.map(([name, kind, labels]) => {
    return [unquoted(name!), kind!, unquoted(labels!.split(':')[0]!)];
  });
  const byName = ([a]: string[], [b]: string[]) => (a! < b! ? -1 : 1);
  expect(written.toSorted(byName)).toEqual(expected.toSorted(byName));
});

it("the tests' README lists exactly the test files that mirror no file of src", () => {
  const names = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
    .map((name) => name.replaceAll('\\', '/'))
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => name.slice(0, -'.test.ts'.length));
  const others = names.filter((name) => !existsSync(join(root, 'src', `${name.replace(/\.\w+$/, '')}.ts`)));
  const section = page('test/README.md').split('or none:\n')[1]!.split('\n## ')[0]!;
  const listed = rows(section).flatMap(([name]) => name!.split(', ').map(unquoted));
  const isListed = (name: string) => listed.includes(name) || listed.includes(`${dirname(name)}/*`);
  expect(others.filter((name) => !isListed(name))).toEqual([]);
  expect(listed.filter((name) => !name.endsWith('/*') && !others.includes(name))).toEqual([]);
});

it('the documents state the platforms of the binaries and the oldest Node, glibc and Rust', () => {
  const support = page('docs/support.md');
  const binaries = support.split('\n## Binaries\n')[1]!.split('\n\nThe test')[0]!;
  const listed = [...binaries.matchAll(/`(?:prebuilds\/)?((?:linux|darwin|win32)-\w+\/[\w.-]*)`/g)].map(
    ([, path]) => path!,
  );
  const built = TARGETS.map((target) => prebuildPath(target).slice('prebuilds/'.length));
  expect(built.filter((path) => !listed.some((prefix) => path.startsWith(prefix)))).toEqual([]);
  expect(listed.filter((prefix) => !built.some((path) => path.startsWith(prefix)))).toEqual([]);
  expect(binaries).toContain(`glibc ${GLIBC_BASELINE}`);

  const { engines } = JSON.parse(page('package.json')) as { engines: { node: string } };
  const node = engines.node.replace('>=', '');
  expect(page('README.md')).toContain(`Node ${node} or later`);
  expect(support).toContain(`| Node ${node}.0 |`);

  const rust = /^rust-version = "([^"]+)"/m.exec(page('native/Cargo.toml'))![1]!;
  expect(page('README.md')).toContain(`Rust ${rust} or later`);
  expect(support).toContain(`Rust ${rust} or later`);
});

it('the authors guide states the limits of answers', () => {
  const text = page('docs/plugins.md');
  const { outputBodyBytes, reasonBytes, maxHeaders, maxHeaderValueBytes } = defaultHotEngineConfig().wireBounds;
  const count = (value: number) => value.toLocaleString('en-US');
  expect(text).toContain(`at most ${outputBodyBytes / 1024 / 1024} MiB (\`outputBodyBytes\`)`);
  expect(text).toContain(`truncated to ${reasonBytes} bytes (\`reasonBytes\`)`);
  expect(text).toContain(`At most ${maxHeaders} header lines (\`maxHeaders\`)`);
  expect(text).toContain(`values of at most ${maxHeaderValueBytes / 1024} KiB (\`maxHeaderValueBytes\`)`);
  expect(text).toContain(`at most ${count(EVENT_LIMITS.maxElements)} events with ${count(MAX_LINES)} lines together`);
  expect(text).toContain(`an event has at most ${count(MAX_TYPE_UNITS)} characters`);
});

it('the documents show each command of the command line', async () => {
  const out: string[] = [];
  await run(['--help'], { out: (text) => out.push(text), err: () => {} });
  const commands = [...out.join('\n').matchAll(/^ {2}(\w+) <file/gm)].map(([, name]) => name);
  expect(commands).toEqual(['inspect', 'admit', 'call', 'explain', 'bench']);
  for (const name of commands) expect(page('docs/plugins.md')).toContain(`cc-lb-plugin ${name} `);
});

it('every relative link of a Markdown file of the repository leads to a file and a heading', () => {
  const { stdout } = spawnSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
  });
  const files = stdout.split('\0').filter((name) => existsSync(join(root, name)) && name !== '');
  expect(files).toContain('bench/peer/README.md');
  expect(brokenLinks(files)).toEqual([]);
});

it('every relative link of a Markdown file of the tarball leads into the tarball', () => {
  const files = packedFiles();
  expect(files).toEqual(expect.arrayContaining(['README.md', 'docs/api/README.md', 'examples/container/README.md']));
  expect(brokenLinks(files)).toEqual([]);
});

it('a link to a missing file, a missing heading or a file outside of the tarball is reported', () => {
  const files = ['README.md', 'docs/errors.md', 'CHANGELOG.md'];
  expect(brokenLinks(files)).toEqual(
    expect.arrayContaining(['README.md: docs/guide.md', 'docs/errors.md: compiling.md']),
  );
  expect(brokenLinks(files)).not.toContain('README.md: docs/errors.md');
});
