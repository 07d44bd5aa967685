import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../native', import.meta.url));
const crates = readdirSync(root, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && entry.name !== 'target' && entry.name !== 'target-cross')
  .map(({ name }) => name);

type Graph = ReadonlyMap<string, ReadonlySet<string>>;

/** The code of a module: one file, or every file of a folder; without its unit tests. */
function code(path: string): string {
  const files = path.endsWith('.rs')
    ? [path]
    : readdirSync(path, { recursive: true, encoding: 'utf8' })
        .filter((name) => name.endsWith('.rs'))
        .map((name) => join(path, name));
  return files
    .map((file) =>
      readFileSync(file, 'utf8')
        .split('#[cfg(test)]')[0]!
        .replaceAll(/\/\/.*$/gm, ''),
    )
    .join('\n');
}

/** The modules of a folder, and which of their siblings each names in a path that begins with `prefix`. */
function graph(folder: string, prefix: string): Graph {
  const paths = readdirSync(folder)
    .filter((name) => !['lib.rs', 'mod.rs'].includes(name))
    .map((name) => join(folder, name));
  const names = new Set(paths.map((path) => basename(path, '.rs')));
  const path = new RegExp(`\\b${prefix}(?:(\\w+)|\\{([^;]*?)\\})`, 'g');
  return new Map(
    paths.map((file) => {
      const used = [...code(file).matchAll(path)].flatMap(([, one, several]) => one ?? several!.match(/\w+/g) ?? []);
      const self = basename(file, '.rs');
      return [self, new Set(used.filter((name) => names.has(name) && name !== self))];
    }),
  );
}

/** A cycle of the graph, as the names on it, or null. */
function cycle(modules: Graph): string[] | null {
  const done = new Set<string>();
  const visit = (name: string, trail: readonly string[]): string[] | null => {
    if (trail.includes(name)) return [...trail.slice(trail.indexOf(name)), name];
    if (done.has(name)) return null;
    done.add(name);
    for (const next of modules.get(name) ?? []) {
      const found = visit(next, [...trail, name]);
      if (found !== null) return found;
    }
    return null;
  };
  for (const name of modules.keys()) {
    const found = visit(name, []);
    if (found !== null) return found;
  }
  return null;
}

it('finds a cycle', () => {
  const modules = new Map([
    ['a', new Set(['b'])],
    ['b', new Set(['c'])],
    ['c', new Set(['b'])],
  ]);
  expect(cycle(modules)).toEqual(['b', 'c', 'b']);
});

describe.each(crates)('the crate native/%s', (crate) => {
  const source = join(root, crate, 'src');
  const folders = readdirSync(source, { withFileTypes: true }).filter((entry) => entry.isDirectory());

  it('has no cycle between its modules', () => {
    const modules = graph(source, 'crate::');
    expect([...modules.values()].some((used) => used.size > 0)).toBe(true);
    expect(cycle(modules)).toBeNull();
  });

  it('has no cycle between the files of a module', () => {
    for (const { name } of folders) expect(cycle(graph(join(source, name), 'super::')), name).toBeNull();
  });
});
