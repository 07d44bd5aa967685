/** The benchmark measures the built package; `npm run bench` compares it with the Rust crate. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const bench = (...args: string[]) =>
  spawnSync(process.execPath, ['bench/run.mjs', '--no-build', ...args], { cwd: root, encoding: 'utf8' });

it.each([
  ['request, 1 KiB, k = 1', ['one', 'threads', 'processes']],
  ['request, static-data, 1 KiB, k = 1', ['one']],
  ['stream, 1 KiB, k = 1', ['one']],
  ['observed, 1 KiB, k = 1', ['one']],
])('measures %s', (name, modes) => {
  const folder = mkdtempSync(join(tmpdir(), 'bench-'));
  try {
    const output = join(folder, 'results.json');
    const run = bench('--contestants', 'package', '--rounds', '1', '--columns', `^${name}$`, '--output', output);
    expect(run.status, run.stderr).toBe(0);
    const { columns } = JSON.parse(readFileSync(output, 'utf8'));
    expect(Object.keys(columns)).toEqual([name]);
    const measured = columns[name].figures.package as Record<string, Record<string, number>>;
    expect(Object.keys(measured)).toEqual(modes);
    for (const { p50Us, p99Us, cpuUs, requestsPerSecond, rssKiB } of Object.values(measured)) {
      expect(p50Us).toBeGreaterThan(0);
      expect(p99Us).toBeGreaterThanOrEqual(p50Us!);
      for (const figure of [cpuUs, requestsPerSecond, rssKiB]) expect(figure).toBeGreaterThan(0);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

it('rejects unknown contestants', () => {
  expect(bench('--contestants', 'nobody').status).not.toBe(0);
});
