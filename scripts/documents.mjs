// Extracts what a reader copies from README.md and the pages below docs/: the packages to install, the program that the JavaScript
// snippets form, and the commands of the package.
import { readdirSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';

const root = new URL('../', import.meta.url);
/** The phrase with which a page states that it continues the program of another page. */
const CONTINUES = /\bcontinue the \[[^\]]*\]\(([^)#]+)/;

/** The names of README.md and of the pages below docs/. */
export function pageNames() {
  const names = readdirSync(new URL('docs/', root), { recursive: true });
  const below = names.map((name) => `docs/${name.replaceAll('\\', '/')}`);
  return ['README.md', ...below.filter((name) => name.endsWith('.md'))];
}

export function walks() {
  const pages = new Map(pageNames().map((name) => [name, readPage(name)]));
  const continued = new Set([...pages.values()].map(({ continues }) => continues));
  const ends = [...pages].filter(([name, page]) => !continued.has(name) && hasContent(page));
  return ends.map(([name]) => walk(pages, name));
}

/** The npm packages that a page says to install in addition to this one. */
export function packagesOf(name) {
  return readPage(name).packages;
}

function readPage(name) {
  const text = readFileSync(new URL(name, root), 'utf8');
  const target = CONTINUES.exec(text.replaceAll(/\s+/g, ' '))?.[1];
  const lines = [...text.matchAll(/^ {4}(\S.*)$/gm)].map(([, line]) => line.replace(/\s+#.*$/, '').split(/\s+/));
  return {
    continues: target === undefined ? undefined : posix.join(posix.dirname(name), target),
    snippets: [...text.matchAll(/^```js\n(.*?)^```/gms)].map(([, code]) => code),
    packages: lines
      .flatMap(([tool, verb, ...rest]) => (tool === 'npm' && verb === 'install' ? rest : []))
      .filter((name) => name !== 'cc-lb-runtime-wasmtime'),
    commands: lines.filter(([tool, name]) => tool === 'cp' || (tool === 'npx' && name === 'cc-lb-plugin')),
  };
}

function hasContent({ snippets, commands }) {
  return snippets.length > 0 || commands.length > 0;
}

function walk(pages, end) {
  const names = [];
  for (let name = end; name !== undefined; name = pages.get(name).continues) names.unshift(name);
  const read = names.map((name) => pages.get(name));
  const program = read.flatMap(({ snippets }) => snippets).join('\n');
  return {
    pages: names,
    packages: read.flatMap(({ packages }) => packages),
    program,
    output: [...program.matchAll(/\/\/ → (.*)$/gm)].map(([, line]) => line),
    commands: read.flatMap(({ commands }) => commands),
  };
}
