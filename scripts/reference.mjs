// `npm run docs` writes the API reference into docs/api from the doc comments of the public surface. With `--check` it
// fails if the committed reference differs, or if a public item has no description. typedoc needs the compiler API of
// TypeScript 5, so it has separate dependencies in scripts/reference.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { npm } from './setup.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const tools = join(root, 'scripts', 'reference');
const committed = join(root, 'docs', 'api');
const check = process.argv.includes('--check');

npm(['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], tools);
const out = check ? mkdtempSync(join(tmpdir(), 'reference-')) : committed;
try {
  const typedoc = join(tools, 'node_modules', 'typedoc', 'bin', 'typedoc');
  const { status } = spawnSync(process.execPath, [typedoc, '--out', out], { cwd: tools, stdio: 'inherit' });
  if (status !== 0) process.exit(1);
  if (check && !sameFiles(out, committed)) {
    console.error('docs/api differs from the doc comments: run `npm run docs` and commit the result');
    process.exit(1);
  }
} finally {
  if (check) rmSync(out, { recursive: true, force: true });
}

function sameFiles(a, b) {
  const files = (folder) =>
    readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const texts = (folder) =>
    files(folder)
      .map(({ parentPath, name }) => join(parentPath, name))
      .map((path) => `${path.slice(folder.length)}\0${readFileSync(path, 'utf8')}`)
      .sort();
  return JSON.stringify(texts(a)) === JSON.stringify(texts(b));
}
