import { spawn } from 'node:child_process';
import { openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { request } from 'undici';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { compileProgram, configFor, freeAddress, GUESTS, startProgram, temporaryFolder } from './program.ts';
import { ok, reply, until, untilAsync, upstream } from './support.ts';

const example = fileURLToPath(new URL('../../examples/load-balancer/config.example.json', import.meta.url));
let compiled: string;
beforeAll(() => {
  compiled = compileProgram('main');
});

function exitOf(child: NodeJS.EventEmitter): Promise<unknown> {
  return new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })));
}

// On Windows every signal ends the process.
describe.skipIf(process.platform === 'win32')('main.js', () => {
  it('serves a config file, reloads it on SIGHUP and ends on SIGTERM', async () => {
    const file = join(temporaryFolder(), 'config.json');
    const configure = (filter: string) => {
      const { pluginFolder: _, trustedKeys: __, ...content } = JSON.parse(readFileSync(example, 'utf8'));
      const any = { host: '127.0.0.1', port: 0 };
      const plugins = [{ kind: 'filter', name: 'cache-aware', file: join(GUESTS, filter) }];
      writeFileSync(file, JSON.stringify({ ...content, engine: {}, listen: any, admin: any, plugins }));
    };
    configure('cache-aware.wasm');
    const program = await startProgram(compiled, file);
    const before = await program.status();
    expect(before.plugins).toMatchObject([{ plugin: 'cache-aware', version: '1.0.0' }]);

    configure('cache-aware-v2.wasm');
    program.child.kill('SIGHUP');
    await untilAsync(async () => (await program.status()).plugins[0]?.version === '2.0.0');
    writeFileSync(file, '{');
    program.child.kill('SIGHUP');
    await until(() => program.log.some(({ msg }) => msg === 'the config was not swapped in'));
    expect((await program.status()).plugins).toMatchObject([{ version: '2.0.0' }]);

    const ended = exitOf(program.child);
    program.child.kill('SIGTERM');
    expect(await ended).toEqual({ code: 0, signal: null });
  });

  it('serves operators by address, localhost and the names of the config alone', async () => {
    const content = configFor([await upstream(ok)]) as { admin: object };
    const admin = { ...content.admin, names: ['LB.internal'] };
    const program = await startProgram(compiled, join(temporaryFolder(), 'config.json'), { ...content, admin });
    const statusFor = async (host: string) =>
      (await request(`${program.admin}/status`, { headers: { host }, reset: true })).statusCode;
    for (const host of ['localhost', 'localhost:9', '127.0.0.1', '[::1]:9', '192.0.2.1:9', 'lb.INTERNAL:9']) {
      expect(await statusFor(host), host).toBe(200);
    }
    for (const host of [
      'rebound.test',
      'rebound.test:9',
      'x.lb.internal',
      'localhost.rebound.test',
      '127.0.0.1.test',
    ]) {
      expect(await statusFor(host), host).toBe(403);
    }
  });

  it('lets running requests finish on SIGTERM', async () => {
    let answer = () => {};
    const server = await upstream((_, response) => {
      answer = () => response.end('late');
    });
    const program = await startProgram(compiled, join(temporaryFolder(), 'config.json'), configFor([server]));
    const running = request(`${program.url}/v1/messages`, {
      method: 'POST',
      headers: { 'x-api-key': 'me' },
      body: '{}',
    });
    await until(() => server.received.length === 1);
    const ended = exitOf(program.child);
    program.child.kill('SIGTERM');
    await untilAsync(async () => {
      const ready = await request(`${program.admin}/readyz`).catch(() => null);
      return ready?.statusCode === 503;
    });
    // Further signals do not end it.
    program.child.kill('SIGINT');
    program.child.kill('SIGTERM');
    await delay(100);
    expect((await request(`${program.admin}/readyz`)).statusCode).toBe(503);
    answer();
    expect(await (await running).body.text()).toBe('late');
    expect(await ended).toEqual({ code: 0, signal: null });
  });

  it.runIf(process.platform === 'linux')('serves and ends while its log cannot be written', async () => {
    const server = await upstream(ok);
    const [listen, admin] = [await freeAddress(), await freeAddress()];
    const file = join(temporaryFolder(), 'config.json');
    writeFileSync(file, JSON.stringify(configFor([server], { listen, admin, log: { level: 'info' } })));
    // Every write fails as on a full disk.
    const stdio = ['ignore', openSync('/dev/full', 'w'), 'inherit'] as const;
    const child = spawn(process.execPath, [join(compiled, 'main.js'), file], { stdio: [...stdio] });
    onTestFinished(() => void child.kill('SIGKILL'));
    const get = async (path: string) => {
      const answer = await request(`http://127.0.0.1:${admin.port}${path}`, { reset: true }).catch(() => null);
      return { status: answer?.statusCode, text: await answer?.body.text() };
    };
    await untilAsync(async () => (await get('/readyz')).status === 200);
    for (let i = 0; i < 4; i++) expect(await reply(`http://127.0.0.1:${listen.port}`)).toMatchObject({ status: 200 });
    const dropped = async () => /^cc_lb_log_lines_dropped_total (\d+)$/m.exec((await get('/metrics')).text ?? '')?.[1];
    // Of the workers, a line for each request, and of the primary the one of its start.
    await untilAsync(async () => (await dropped()) === '5');
    const ended = exitOf(child);
    child.kill('SIGTERM');
    expect(await ended).toEqual({ code: 0, signal: null });
  });
});
