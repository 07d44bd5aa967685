import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

it('the modules of src have no import cycle', () => {
  const root = fileURLToPath(new URL('..', import.meta.url));
  const biome = ['node_modules/@biomejs/biome/bin/biome', 'lint', '--only=suspicious/noImportCycles', 'src'];
  const { status, stdout, stderr } = spawnSync(process.execPath, biome, { cwd: root, encoding: 'utf8' });
  expect(status, stdout + stderr).toBe(0);
});
