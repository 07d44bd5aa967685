import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const text = readFileSync(join(root, 'CONTRIBUTING.md'), 'utf8');
const section = text.split('## Three walks through the code\n')[1]!.split('\n## ')[0]!;
const walks = section.split('\n### ').slice(1);
const steps = (walk: string) => [...walk.matchAll(/^\| `([\w.]+)` \| \[([^\]]+)\]\(\2\) \|/gm)];

it('CONTRIBUTING has every file and folder of src in its map', () => {
  const map = text.split('## The map of the code\n')[1]!.split('\n## ')[0]!;
  const missing = readdirSync(join(root, 'src')).filter((name) => !map.includes(`(src/${name}`));
  expect(missing).toEqual([]);
});

it('CONTRIBUTING walks through a call, an admission and a swap', () => {
  expect(walks.map((walk) => walk.split('\n')[0])).toEqual([
    'A filter call',
    'The admission of a module',
    'A hot swap',
  ]);
});

describe.each(walks.map((walk) => [walk.split('\n')[0]!, walk] as const))('the walk "%s"', (_, walk) => {
  it('names in each row a symbol that its file defines', () => {
    const rows = walk.split('\n').filter((line) => line.startsWith('| `'));
    expect(steps(walk).length).toBe(rows.length);
    for (const [, symbol, path] of steps(walk)) {
      const code = readFileSync(join(root, path!), 'utf8');
      for (const name of symbol!.split('.'))
        expect(code, `${symbol} in ${path}`).toMatch(new RegExp(`\\b#?${name}\\b`));
    }
  });
});
