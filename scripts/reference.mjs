// `npm run docs` writes the API reference into docs/api from the doc comments of the public surface, and fails if a public
// item has no description. With `--check` it writes nothing, and also fails if docs/api differs. typedoc needs the compiler
// API of TypeScript 5, so it has separate dependencies in scripts/reference.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { must } from './commands.mjs';
import { npm, step } from './setup.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const tools = join(root, 'scripts', 'reference');
const committed = join(root, 'docs', 'api');
const { check } = parseArgs({ options: { check: { type: 'boolean', default: false } } }).values;

const manifests = ['scripts/reference/package.json', 'scripts/reference/package-lock.json'];
step('typedoc', manifests, 'scripts/reference/node_modules/.package-lock.json', () =>
  npm(['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], tools),
);
const out = check ? mkdtempSync(join(tmpdir(), 'reference-')) : committed;
try {
  const typedoc = join(tools, 'node_modules', 'typedoc', 'bin', 'typedoc');
  must(process.execPath, [typedoc, '--out', out], { cwd: tools });
  if (check && !sameFiles(out, committed)) {
    console.error('docs/api differs from the doc comments: run `npm run docs` and commit the result');
    process.exit(1);
  }
} finally {
  if (check) rmSync(out, { recursive: true, force: true });
}

function sameFiles(a, b) {
  return JSON.stringify(textsIn(a)) === JSON.stringify(textsIn(b));
}

/** Returns each file of a folder as its relative path and its text. */
function textsIn(folder) {
  if (!existsSync(folder)) return [];
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = files.map(({ parentPath, name }) => join(parentPath, name)).sort();
  return paths.map((path) => [relative(folder, path), readFileSync(path, 'utf8')]);
}
