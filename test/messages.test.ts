/** The language of messages: texts that users read are plain technical English. */
import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

const AVOIDED = /\b(is no|are no|is none|stands?|twice|anew|gone|told|tells|what becomes of|in place of|lacks its)\b/;

/** The string and template literals of a TypeScript source, comments left out. */
function literals(source: string): string[] {
  const code = source.replace(/\/\*.*?\*\/|(?<=^|\s)\/\/[^\n]*/gs, '');
  return [...code.matchAll(/'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`|"(?:[^"\\\n]|\\.)*"/g)].map(([text]) => text);
}

const folder = new URL('../src/', import.meta.url);
const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));

it.each(files)('messages of %s use standard technical English', (name) => {
  expect(literals(readFileSync(new URL(name, folder), 'utf8')).filter((text) => AVOIDED.test(text))).toEqual([]);
});

const native = new URL('../native/', import.meta.url);
const rustFiles = readdirSync(native, { recursive: true, encoding: 'utf8' }).filter((name) =>
  /^(engine|binding)[\\/]src[\\/].*\.rs$/.test(name),
);

it.each(rustFiles)('messages of native/%s use standard technical English', (name) => {
  const code = readFileSync(new URL(name, native), 'utf8').replace(/(?<=^|\s)\/\/[^\n]*/gm, '');
  const texts = [...code.matchAll(/"(?:[^"\\]|\\.)*"/g)].map(([text]) => text);
  expect(texts.filter((text) => AVOIDED.test(text))).toEqual([]);
});
