/** What a reader does who copies every snippet, with the package as it is built. `npm run test:pack` does it with the tarball. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { pageNames, walks } from '../scripts/documents.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const INSTALLED = 'node_modules/cc-lb-runtime-wasmtime/';

function nodeIn(folder: string, ...args: string[]) {
  return spawnSync(process.execPath, args, { cwd: folder, encoding: 'utf8' });
}

it('covers every page with JavaScript', () => {
  const withSnippets = pageNames().filter((name) => /^```js$/m.test(readFileSync(join(root, name), 'utf8')));
  const covered = new Set(walks().flatMap((walk) => walk.pages));
  expect(withSnippets.filter((name) => !covered.has(name))).toEqual([]);
  expect(withSnippets.length).toBeGreaterThan(3);
});

it('starts with an example of at most 30 lines', () => {
  const [, first] = /^```js\n(.*?)^```/ms.exec(readFileSync(join(root, 'README.md'), 'utf8'))!;
  expect(first!.trimEnd().split('\n').length).toBeLessThanOrEqual(30);
});

it('builds the first plugin of the authors guide from the files of a guest', () => {
  const text = readFileSync(join(root, 'docs/plugins.md'), 'utf8');
  const blocks = [...text.matchAll(/^```(?:toml|rust)\n(.*?)^```/gms)].map(([, code]) => code);
  const files = ['Cargo.toml', 'src/lib.rs'].map((name) => join(root, 'test/plugins/no-staging', name));
  expect(blocks).toEqual(files.map((file) => readFileSync(file, 'utf8')));
});

type Walk = ReturnType<typeof walks>[number];

/** The pages of the walks that `has` selects, with their walk. */
function walksWith(has: (walk: Walk) => boolean) {
  return walks()
    .filter(has)
    .map((walk) => [walk.pages.join(', '), walk] as const);
}

/** Makes the folder of a walk. It is inside the package, so that the package can import itself by name. */
function folderOf({ pages }: Walk): string {
  const folder = join(root, 'build', 'snippets', pages.at(-1)!.replaceAll(/\W/g, '-'));
  mkdirSync(folder, { recursive: true });
  return folder;
}

describe('the snippets', () => {
  rmSync(join(root, 'build', 'snippets'), { recursive: true, force: true });

  it.each(walksWith(({ program }) => program !== ''))('of %s run in order and print what is documented', (_, walk) => {
    const folder = folderOf(walk);
    writeFileSync(join(folder, 'program.mjs'), walk.program);
    const { stdout, stderr } = nodeIn(folder, 'program.mjs');
    expect(stderr).toBe('');
    expect(walk.output.length).toBeGreaterThan(0);
    expect(stdout.trimEnd().split('\n')).toEqual(walk.output);
  });

  it.each(walksWith(({ commands }) => commands.length > 0))('of %s have commands that succeed', (_, walk) => {
    const folder = folderOf(walk);
    for (const [tool, ...args] of walk.commands) {
      if (tool === 'cp') {
        copyFileSync(join(root, args[0]!.replace(INSTALLED, '')), join(folder, args[1]!));
        continue;
      }
      const ended = nodeIn(folder, join(root, 'dist/cli/main.js'), ...args.slice(1));
      expect(ended, args.join(' ')).toMatchObject({ status: 0, stderr: '' });
    }
  });
});
