/** Runs each scenario of the torture suite for a few seconds; `npm run torture` runs it completely. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const SECONDS = 2.5;

const torture = (...args: string[]) =>
  spawnSync(process.execPath, ['scripts/torture.mjs', ...args], { cwd: root, encoding: 'utf8' });

describe('npm run torture', () => {
  // `deadline` is omitted: its overrun depends on the load of the machine, so the suite reports it and no test checks it.
  it.each([
    'traps',
    'canary',
    'churn',
    'swaps',
    'admission',
    'hostile',
    'compile',
    'buffers',
    'soak',
    'tenants',
    'slots',
    'neighbors',
    'streams',
  ])('passes scenario %s', (name) => {
    const { status, stdout, stderr } = torture('--only', name, '--seconds', String(SECONDS));
    // The output of a failed run has the seed that reproduces it.
    expect(status, `${stdout}${stderr}`).toBe(0);
    expect(stdout).toContain('1 of 1 held');
  });

  it('passes scenario corruption in 10 processes', () => {
    const { status, stdout, stderr } = torture('--only', 'corruption', '--full', '--units', '10');
    expect(status, `${stdout}${stderr}`).toBe(0);
    expect(stdout).toContain('processes that admitted the ordinary module: 10');
  });

  // It reports times without checking them.
  it('passes scenario blocking in a call of each kind', () => {
    const { status, stdout, stderr } = torture('--only', 'blocking', '--full', '--units', '4');
    expect(status, `${stdout}${stderr}`).toBe(0);
    expect(stdout.match(/\(1 calls\)/g)).toHaveLength(4);
  });

  it('rejects unknown scenarios and invalid times', () => {
    expect(torture('--only', 'nothing').status).toBe(2);
    expect(torture('--seconds', 'soon').status).toBe(2);
  });
});
