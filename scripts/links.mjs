// Finds broken links of Markdown files: in the checkout, and in the tarball, which does not have every file of the checkout.
import { readFileSync } from 'node:fs';
import { posix } from 'node:path';

const root = new URL('../', import.meta.url);

/**
 * Returns the relative links of the Markdown files among `files` that lead to none of these files, their folders, or their
 * headings, each as `page: link`. The files are below the root of the package, and named relative to it with slashes.
 */
export function brokenLinks(files) {
  const present = new Set(files.flatMap((file) => [file, ...foldersOf(file)]));
  const pages = files.filter((file) => file.endsWith('.md'));
  const texts = new Map(pages.map((page) => [page, readFileSync(new URL(page, root), 'utf8')]));
  const headings = new Map([...texts].map(([page, text]) => [page, anchors(text)]));
  const leadsSomewhere = (page, link) => {
    const [path, anchor] = link.split('#');
    const target = path === '' ? page : posix.join(posix.dirname(page), path).replace(/\/$/, '');
    return present.has(target) && (anchor === undefined || headings.get(target)?.has(anchor) === true);
  };
  return [...texts].flatMap(([page, text]) => {
    const links = [...withoutCode(text).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link);
    const relative = links.filter((link) => !/^[a-z]+:/.test(link));
    return relative.filter((link) => !leadsSomewhere(page, link)).map((link) => `${page}: ${link}`);
  });
}

function foldersOf(file) {
  const parts = file.split('/').slice(0, -1);
  return parts.map((_, index) => parts.slice(0, index + 1).join('/'));
}

/** The anchors of a page: those written as HTML, and those of its headings, of which a repeated one has a number. */
function anchors(text) {
  const found = new Set([...text.matchAll(/<a id="([^"]+)">/g)].map(([, id]) => id));
  for (const [, title] of withoutCode(text, '$1').matchAll(/^#+ (.*)$/gm)) {
    const slug = title
      .toLowerCase()
      .replaceAll(/[^\w\- ]/g, '')
      .replaceAll(' ', '-');
    const numbered = (count) => (count === 0 ? slug : `${slug}-${count}`);
    let count = 0;
    while (found.has(numbered(count))) count += 1;
    found.add(numbered(count));
  }
  return found;
}

/** Drops the code blocks, and replaces code in a line. */
function withoutCode(text, inline = '') {
  return text.replaceAll(/^ *```.*?^ *```/gms, '').replaceAll(/`([^`\n]*)`/g, inline);
}
