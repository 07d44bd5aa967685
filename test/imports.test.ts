import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));

it('no module of the library imports the command line', () => {
  const names = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' });
  const library = names.filter((name) => name.endsWith('.ts') && !/^cli[\\/]/.test(name));
  const importers = library.filter((name) => /from '[./]+\/cli\//.test(readFileSync(join(root, 'src', name), 'utf8')));
  expect(importers).toEqual([]);
});

it('the modules of src have no import cycle', () => {
  const biome = ['node_modules/@biomejs/biome/bin/biome', 'lint', '--only=suspicious/noImportCycles', 'src'];
  const { status, stdout, stderr } = spawnSync(process.execPath, biome, { cwd: root, encoding: 'utf8' });
  expect(status, stdout + stderr).toBe(0);
});
