import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { request } from 'undici';
import { afterAll, expect, it, onTestFinished } from 'vitest';
import { until } from './support.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const guests = join(root, 'test', 'plugins', 'wasm');
const folder = mkdtempSync(join(tmpdir(), 'balancer-'));
const path = join(folder, 'config.json');
afterAll(() => rmSync(folder, { recursive: true }));

/** Writes the config of the example, with one version of its filter. */
function configure(filter: string): void {
  const example = JSON.parse(readFileSync(join(root, 'examples/load-balancer/config.example.json'), 'utf8'));
  const any = { host: '127.0.0.1', port: 0 };
  const plugins = [{ kind: 'filter', name: 'cache-aware', file: join(guests, filter) }];
  writeFileSync(path, JSON.stringify({ ...example, engine: {}, listen: any, admin: any, plugins }));
}

function start(): { child: ChildProcess; output: () => string } {
  const compiler = ['node_modules/typescript/bin/tsc', '-p', 'examples/load-balancer'];
  const compiled = spawnSync(process.execPath, compiler, { cwd: root, encoding: 'utf8' });
  expect(compiled).toMatchObject({ status: 0, stdout: '' });
  const env = { ...process.env, ANTHROPIC_API_KEY: 'theirs' };
  const child = spawn(process.execPath, ['build/load-balancer/main.js', path], { cwd: root, env });
  onTestFinished(() => void child.kill('SIGKILL'));
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (text += chunk));
  return { child, output: () => text };
}

// Windows ends a process whatever signal it is sent.
it.skipIf(process.platform === 'win32')('runs from a config file, swaps on SIGHUP and ends on SIGTERM', async () => {
  configure('cache-aware.wasm');
  const { child, output } = start();
  await until(() => output().includes('health: '));
  const admin = /health: (\S+)/.exec(output())![1];
  expect((await request(`${admin}/health`)).statusCode).toBe(200);

  configure('cache-aware-v2.wasm');
  child.kill('SIGHUP');
  await until(() => output().includes('swapped in: "__global__"/"cache-aware"'));
  writeFileSync(path, '{');
  child.kill('SIGHUP');
  await until(() => output().includes('not swapped in: '));
  expect((await request(`${admin}/health`)).statusCode).toBe(200);

  const ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })));
  child.kill('SIGTERM');
  expect(await ended).toEqual({ code: 0, signal: null });
});
