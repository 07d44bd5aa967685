/** What the binding must do that no call shows as long as the engine keeps its promises. */
import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

const folder = new URL('../../native/binding/src/', import.meta.url);
const files = readdirSync(folder).filter((name) => name.endsWith('.rs'));
const source = files.map((name) => readFileSync(new URL(name, folder), 'utf8')).join('\n');

it('lets no panic leave an asynchronous task, whose callback C calls', () => {
  const bodies = [...source.matchAll(/\n {4}fn compute\(.*?\n {4}\}\n/gs)].map(([body]) => body);
  const tasks = source.match(/\bimpl(<[^>]*>)? (Scoped)?Task(<[^>]*>)? for /g) ?? [];
  expect(bodies).toHaveLength(tasks.length);
  expect(bodies.length).toBeGreaterThan(0);
  for (const body of bodies) expect(body).toContain('catching(');
});

it('lets no panic leave an exported function', () => {
  const exported = [
    ...source.matchAll(/#\[napi(?:\((?<options>[^\n]*)\))?\]\n(?: *#\[allow[^\n]*\n)? *pub fn (?<name>\w+)/g),
  ];
  expect(exported.length).toBeGreaterThan(10);
  for (const { groups } of exported) expect(groups?.options ?? '', groups?.name).toContain('catch_unwind');
});
