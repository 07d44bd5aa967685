import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

it('has no cycle among the modules of src', () => {
  const root = fileURLToPath(new URL('..', import.meta.url));
  const biome = ['node_modules/@biomejs/biome/bin/biome', 'lint', '--only=suspicious/noImportCycles', 'src'];
  const { status, stdout, stderr } = spawnSync(process.execPath, biome, { cwd: root, encoding: 'utf8' });
  expect(status, stdout + stderr).toBe(0);
});
