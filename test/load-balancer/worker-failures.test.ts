/** What operators and clients observe when workers die or hang, and when plugins are rejected. */
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { request } from 'undici';
import { beforeAll, describe, expect, it } from 'vitest';
import { plugin as guest } from '../support/plugins.ts';
import {
  compileProgram,
  configFor,
  freeAddress,
  GUESTS,
  type Program,
  postTo,
  startProgram,
  startWithFolder,
  temporaryFolder,
} from './program.ts';
import { ok, principal, until, untilAsync, upstream } from './support.ts';

let compiled: string;
beforeAll(() => {
  compiled = compileProgram('failures');
});

/** Signals a process; returns whether it exists. */
function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false;
  }
}

/** Stops a worker before it serves. */
async function stopWhileStarting(program: Program): Promise<void> {
  await untilAsync(async () => {
    const { workers } = await program.status();
    const starting = workers.find(({ isServing }) => !isServing);
    if (starting !== undefined) return signal(starting.pid, 'SIGSTOP');
    // Repeated, because a worker may start to serve between two queries.
    if (workers.length > 1) signal(workers[0]!.pid, 'SIGKILL');
    return false;
  });
}

async function allServe(program: Program, count: number): Promise<void> {
  await untilAsync(async () => {
    const { workers } = await program.status();
    return workers.filter(({ isServing }) => isServing).length === count;
  });
}

async function health({ admin }: Program): Promise<{ status: number; problems: string[] }> {
  const answer = await request(`${admin}/healthz`, { reset: true });
  const { problems } = (await answer.body.json()) as { problems: string[] };
  return { status: answer.statusCode, problems };
}

// On Windows a process cannot be stopped.
describe.skipIf(process.platform === 'win32')('a set of plugins', () => {
  /** Puts a plugin whose admission the only worker does not answer. Returns the program and the worker. */
  async function putWhileStopped(bytes: string | Buffer) {
    const rest = { workers: 1, listen: await freeAddress() };
    const program = await startWithFolder(compiled, await upstream(ok), { keep: 'cache-aware' }, rest);
    const { pid } = (await program.status()).workers[0]!;
    process.kill(pid, 'SIGSTOP');
    program.write('new.json', '{"kind":"filter"}');
    program.write('new.wasm', bytes);
    // The primary reads the files and waits for the worker.
    await new Promise((resolve) => setTimeout(resolve, 500));
    return { program, pid };
  }
  const deployed = async (program: Program) => (await program.status()).plugins.map(({ plugin }) => plugin).join();

  it('is admitted by a new worker if the only one dies', async () => {
    const { program, pid } = await putWhileStopped(guest('cache-aware-v2'));
    process.kill(pid, 'SIGKILL');
    await untilAsync(async () => (await deployed(program)) === 'keep,new');
    const { rejections, restarts, workers } = await program.status();
    expect({ rejections, restarts, workers }).toMatchObject({ rejections: [], restarts: 1, workers: [{}] });
    expect((await postTo(program)).status).toBe(200);
  });

  it('is rejected if no worker admits it', async () => {
    const { program, pid } = await putWhileStopped('no wasm');
    signal(pid, 'SIGKILL');
    await untilAsync(async () => {
      for (const worker of (await program.status()).workers) signal(worker.pid, 'SIGKILL');
      return program.log.some(({ msg }) => msg === 'a plugin was rejected');
    });
    // The replacement serves the set without the rejected plugin.
    await untilAsync(async () => (await deployed(program)) === 'keep');
    expect((await program.status()).rejections.map(({ plugin }) => plugin)).toEqual(['new']);
    expect((await postTo(program)).status).toBe(200);
  });

  it('is rejected, and no worker is ended, if a plugin changes its kind', async () => {
    const program = await startWithFolder(compiled, await upstream(ok), { keep: 'cache-aware' });
    program.put('keep', 'rewrite');
    await untilAsync(async () => (await program.status()).rejections.length === 1);
    const { plugins, rejections, restarts } = await program.status();
    expect(rejections[0]!.reason).toMatch(/deployed as filter/);
    expect(plugins).toMatchObject([{ plugin: 'keep', kind: 'filter' }]);
    expect(restarts).toBe(0);
  });
});

describe('the start', () => {
  it('serves no request without the plugins of the folder', async () => {
    const folder = temporaryFolder();
    mkdirSync(join(folder, 'plugins'));
    for (const name of ['a', 'b', 'c']) {
      cpSync(join(GUESTS, 'cache-aware.wasm'), join(folder, 'plugins', `${name}.wasm`));
    }
    cpSync(join(GUESTS, 'misbehave.wasm'), join(folder, 'plugins', 'guard.wasm'));
    writeFileSync(join(folder, 'plugins', 'guard.json'), '{"kind":"filter","failurePolicy":"fail-closed"}');
    const server = await upstream(ok);
    const listen = await freeAddress();
    const principals = [principal('me', { do: 'unreachable' })];
    const content = configFor([server], { listen, principals, pluginFolder: { path: 'plugins' } });
    const starting = startProgram(compiled, join(folder, 'config.json'), content);
    const statuses = new Set<number>();
    let hasStarted = false;
    starting.finally(() => (hasStarted = true)).catch(() => {});
    while (!hasStarted) {
      const answer = await postTo({ url: `http://127.0.0.1:${listen.port}` }).catch(() => null);
      if (answer !== null) statuses.add(answer.status);
      else await new Promise((resolve) => setTimeout(resolve, 2));
    }
    statuses.add((await postTo(await starting)).status);
    expect([...statuses]).toEqual([503]);
    expect(server.received).toEqual([]);
  });
});

describe.skipIf(process.platform === 'win32')('a worker', () => {
  it('that does not serve is a problem for the health check', async () => {
    const program = await startWithFolder(compiled, await upstream(ok), {});
    const [kept, killed] = (await program.status()).workers;
    const killAllBut = async (pid: number | undefined) => {
      for (const worker of (await program.status()).workers) {
        if (worker.pid !== pid) signal(worker.pid, 'SIGKILL');
      }
      return health(program);
    };
    expect(killed).toBeDefined();
    // Repeated, which increases the delay before a worker is replaced.
    await untilAsync(async () => (await killAllBut(kept!.pid)).problems.includes('1 of 2 workers serve'));
    await untilAsync(async () => (await killAllBut(undefined)).problems.includes('no worker serves'));
    expect((await health(program)).status).toBe(503);
  });

  it('that is starting does not delay the end of the program', async () => {
    // Longer than the time limit of the test.
    const program = await startWithFolder(compiled, await upstream(ok), {}, { graceMs: 600_000 });
    await stopWhileStarting(program);
    const ended = new Promise((resolve) => program.child.once('exit', resolve));
    program.child.kill('SIGTERM');
    expect(await ended).toBe(0);
  });

  it('that hangs while it admits a plugin does not delay the kill switch', async () => {
    const program = await startWithFolder(compiled, await upstream(ok), { keep: 'cache-aware' });
    const hung = (await program.status()).workers[0]!.pid;
    process.kill(hung, 'SIGSTOP');
    program.put('keep', 'cache-aware-v2');
    // The set is prepared for up to two minutes, longer than the time limit of the test.
    await new Promise((resolve) => setTimeout(resolve, 200));
    const disabled = await program.change('/plugins/disable', { plugin: 'keep', reason: 'a test' });
    expect(disabled.status).toBe(200);
    await untilAsync(async () => {
      const { workers } = await program.status();
      return workers.length === 2 && workers.every(({ pid, isServing }) => isServing && pid !== hung);
    });
    expect((await program.status()).plugins).toMatchObject([{ plugin: 'keep', disabled: 'a test' }]);
    for (let i = 0; i < 4; i++) expect((await postTo(program)).status).toBe(200);
    expect((await program.status()).plugins).toMatchObject([{ calls: 0, unavailable: 4 }]);
  });

  it('that hangs or dies leaves its counts in the totals', async () => {
    // The port of an address without one changes when all workers have ended.
    const program = await startWithFolder(compiled, await upstream(ok), {}, { listen: await freeAddress() });
    const total = async () => {
      const text = await (await request(`${program.admin}/metrics`, { reset: true })).body.text();
      const value = (series: string) => Number(new RegExp(`^${series} (\\d+)$`, 'm').exec(text)?.[1]);
      return [value('cc_lb_requests_total{status="200"}'), value('cc_lb_request_duration_seconds_count')];
    };
    for (let i = 0; i < 10; i++) expect((await postTo(program)).status).toBe(200);
    await untilAsync(async () => (await total())[0] === 10);
    const [hung] = (await program.status()).workers;
    process.kill(hung!.pid, 'SIGSTOP');
    expect(await total()).toEqual([10, 10]);
    process.kill(hung!.pid, 'SIGCONT');
    for (const { pid } of (await program.status()).workers) process.kill(pid, 'SIGKILL');
    await until(() => program.log.filter(({ msg }) => msg === 'a worker has died').length === 2);
    expect(await total()).toEqual([10, 10]);
    await allServe(program, 2);
    expect((await postTo(program)).status).toBe(200);
    await untilAsync(async () => (await total())[0] === 11);
    expect((await program.status()).statuses).toEqual({ 200: 11 });
  });
});

describe('the kill switch', () => {
  it('rejects the name of a plugin that is not deployed', async () => {
    const program = await startWithFolder(compiled, await upstream(ok), { keep: 'cache-aware' });
    const disabled = await program.change('/plugins/disable', { plugin: 'kep', reason: 'a test' });
    expect(disabled).toEqual({ status: 409, body: { error: expect.stringContaining('is not deployed') } });
    expect((await program.change('/plugins/enable', { plugin: 'kep' })).status).toBe(409);
    const principal = { plugin: 'keep', principal: 'me', reason: 'a test' };
    expect((await program.change('/plugins/disable', principal)).status).toBe(409);
  });
});
