// The servers of the load test, each in separate processes: the bare proxy, and this load balancer.
import { fork, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { LOAD_BALANCER } from '../load-balancer.mjs';

const here = (file) => fileURLToPath(new URL(file, import.meta.url));
const root = fileURLToPath(new URL('../..', import.meta.url));
const KEY = 'load-test';
const TICK_MS = 10;

/** Header lines of all requests. */
export const HEADERS = { 'x-api-key': KEY, 'user-agent': 'load/1', accept: 'application/json' };

/** Plugins of the balancer in the load test, by the name of their set. */
export const PLUGIN_SETS = {
  none: [],
  'filter + shape': [
    { kind: 'filter', name: 'cache-aware', file: 'cache-aware' },
    { kind: 'shape', name: 'rewrite', file: 'rewrite' },
  ],
  'filter + shape + observe': [
    { kind: 'filter', name: 'cache-aware', file: 'cache-aware' },
    { kind: 'shape', name: 'rewrite', file: 'rewrite' },
    { kind: 'observe', name: 'lifecycle', file: 'lifecycle' },
  ],
  transform: [{ kind: 'shape', name: 'transforms', file: 'transforms' }],
};

/** Starts a script that reports its address; `pids` are the processes whose CPU time counts. */
export async function startScript(name, file, args = []) {
  const child = fork(here(file), args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  const { url } = await new Promise((resolve, reject) => {
    child.once('message', resolve);
    child.once('exit', (code) => reject(new Error(`${file} ended with ${code}`)));
  });
  return { name, url, headers: {}, pids: () => [child.pid], close: () => child.disconnect() };
}

/** Starts the load balancer with a set of plugins. */
export async function startBalancer(name, upstreamUrl, { plugins = [], workers = 1, folder, log = 'warn' } = {}) {
  const temporary = mkdtempSync(join(tmpdir(), 'loadtest-'));
  const config = join(temporary, 'config.json');
  const [port, adminPort] = [await freePort(), await freePort()];
  const wasm = (file) => join(root, 'test/plugins/wasm', `${file}.wasm`);
  const content = {
    listen: { port },
    admin: { port: adminPort },
    workers,
    log: { level: log },
    upstreams: [0, 1].map((i) => ({
      id: `00000000-0000-4000-8000-00000000000${i}`,
      name: `upstream-${i}`,
      baseUrl: upstreamUrl,
    })),
    principals: [
      { id: 'load', kind: 'api_key', keySha256: createHash('sha256').update(KEY).digest('hex'), claims: { keep: 1 } },
    ],
    plugins: plugins.map(({ file, ...plugin }) => ({ ...plugin, file: wasm(file) })),
    ...(folder === undefined ? {} : { pluginFolder: { path: folder, settleMs: 20 } }),
  };
  writeFileSync(config, JSON.stringify(content));
  const child = spawn(process.execPath, [fileURLToPath(new URL('main.js', LOAD_BALANCER)), config], {
    stdio: ['ignore', log === 'info' ? 'ignore' : 'inherit', 'inherit'],
  });
  const admin = `http://127.0.0.1:${adminPort}`;
  await answers(`${admin}/readyz`, child);
  const status = async () => (await fetch(`${admin}/status`)).json();
  const { workers: members } = await status();
  return {
    name,
    url: `http://127.0.0.1:${port}`,
    headers: {},
    admin,
    status,
    pids: () => [child.pid, ...members.map(({ pid }) => pid)],
    async close() {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      await ended;
      rmSync(temporary, { recursive: true });
    },
  };
}

/**
 * Binds the contestants to the first CPU, and the generator and the upstream to the others, while `measure` runs: the
 * scheduler otherwise makes one wait for the other's time slice, which takes milliseconds. Without taskset or a second
 * CPU nothing is bound.
 */
export async function apart(contestants, upstream, measure) {
  const last = cpus().length - 1;
  const bind = (pid, list) => spawnSync('taskset', ['--all-tasks', '--cpu-list', '--pid', list, String(pid)]);
  const ours = [process.pid, ...upstream.pids()];
  if (last > 0) {
    for (const contestant of contestants) for (const pid of contestant.pids()) bind(pid, '0');
    for (const pid of ours) bind(pid, `1-${last}`);
  }
  try {
    return await measure();
  } finally {
    for (const pid of ours) bind(pid, `0-${last}`);
  }
}

/** Waits until a server that was just started answers. */
export async function answers(url, child, seconds = 60) {
  for (const until = Date.now() + seconds * 1_000; Date.now() < until; await delay(50)) {
    if (child.exitCode !== null) throw new Error(`the server of ${url} ended with ${child.exitCode}`);
    try {
      await (await fetch(url)).arrayBuffer();
      return;
    } catch {
      // The server does not listen yet.
    }
  }
  throw new Error(`no answer from ${url} within ${seconds} s`);
}

/** Returns a free port. */
export async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Returns the CPU time of a contestant's processes in milliseconds; NaN if the system does not provide it. */
export function cpuMs({ pids }) {
  try {
    return pids().reduce((sum, pid) => sum + processMs(pid), 0);
  } catch {
    return Number.NaN;
  }
}

/** Returns the resident memory of a contestant's processes in bytes. */
export function residentBytes({ pids }) {
  return pids().reduce(
    (sum, pid) => sum + Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`))?.[1]) * 1_024,
    0,
  );
}

function processMs(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}
