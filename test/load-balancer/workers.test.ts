import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { compileProgram, configFor, GUESTS, postTo as post, startWithFolder, temporaryFolder } from './program.ts';
import { ok, until, untilAsync, upstream } from './support.ts';

let compiled: string;
beforeAll(() => {
  compiled = compileProgram('workers');
});

/** Starts a program with a plugin folder. */
const program = (server: { url: string }, plugins: Readonly<Record<string, string>>, rest?: object) =>
  startWithFolder(compiled, server, plugins, rest);

describe('workers', () => {
  it('share the requests, and their metrics are summed', async () => {
    const server = await upstream(ok);
    const running = await program(server, { keep: 'cache-aware' });
    for (let i = 0; i < 10; i++) expect((await post(running)).status).toBe(200);
    const { workers, statuses } = await running.status();
    expect(workers).toHaveLength(2);
    expect(statuses).toEqual({ 200: 10 });
    const metrics = await (await request(`${running.admin}/metrics`)).body.text();
    expect(metrics).toContain('cc_lb_requests_total{status="200"} 10');
    expect(metrics).toContain('cc_lb_plugin_call_duration_seconds_count{plugin="keep",hook="filter"} 10');
    expect(metrics).toContain('cc_lb_plugin_memory_max_pages 2048');
    expect(metrics).toContain('cc_lb_workers 2');
  });

  it('close connections beyond their limit', async () => {
    const server = await upstream(ok);
    const running = await program(server, {}, { workers: 1, limits: { connections: 1 } });
    const { hostname, port } = new URL(running.url);
    const open = () => {
      const socket = connect(Number(port), hostname);
      onTestFinished(() => void socket.destroy());
      return socket;
    };
    const first = open();
    first.write('GET / HTTP/1.1\r\nhost: lb\r\nx-api-key: me\r\n\r\n');
    await once(first, 'data');
    await once(open().resume(), 'close');
    first.destroy();
    await untilAsync(async () => (await post(running).catch(() => null))?.status === 200);
  });

  it('all serve an admitted version, and none serves a rejected one', async () => {
    const server = await upstream(ok);
    const running = await program(server, { keep: 'cache-aware' });
    running.put('keep', 'cache-aware-v2');
    await untilAsync(async () => (await running.status()).plugins[0]?.version === '2.0.0');
    running.write('keep.wasm', 'no wasm');
    await untilAsync(async () => (await running.status()).rejections.length === 1);
    const { plugins, rejections } = await running.status();
    expect(plugins).toMatchObject([{ plugin: 'keep', version: '2.0.0' }]);
    expect(rejections).toMatchObject([{ plugin: 'keep', reason: expect.stringContaining('not a wasm module') }]);
    for (let i = 0; i < 4; i++) expect((await post(running)).status).toBe(200);
  });

  it('share the compile cache: new workers read what others have compiled', async () => {
    const server = await upstream(ok);
    const engine = { compileCacheDir: join(temporaryFolder(), 'compiled') };
    const running = await program(server, { keep: 'cache-aware' }, { engine });
    const counted = async (name: string) => {
      const metrics = await (await request(`${running.admin}/metrics`)).body.text();
      return Number(new RegExp(`^cc_lb_compile_cache_dir_${name}_total\\S* (\\d+)$`, 'm').exec(metrics)?.[1]);
    };
    const [hits, misses] = [await counted('hits'), await counted('misses')];
    for (const { pid } of (await running.status()).workers) process.kill(pid, 'SIGKILL');
    await untilAsync(async () => {
      const { restarts, workers } = await running.status();
      return restarts === 2 && workers.filter(({ isServing }) => isServing).length === 2;
    });
    expect(await counted('hits')).toBe(hits + 2);
    expect(await counted('misses')).toBe(misses);
  });

  it('are replaced if they die during a stream, and lose only their own requests', async () => {
    const server = await upstream((request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: 1\n\n');
      request.on('close', () => {});
    });
    const running = await program(server, { keep: 'cache-aware' });
    running.put('keep', 'cache-aware-v2');
    await untilAsync(async () => (await running.status()).plugins[0]?.version === '2.0.0');
    await running.change('/plugins/disable', { plugin: 'keep', reason: 'a test' });
    const streams = await Promise.all(
      [0, 1].map(async () => {
        const dispatcher = new Agent({ pipelining: 0 });
        const headers = { 'x-api-key': 'me' };
        return request(`${running.url}/v1/messages`, { method: 'POST', headers, body: '{}', dispatcher });
      }),
    );
    const ended = streams.map(({ body }) =>
      body.text().then(
        () => 'whole',
        () => 'cut',
      ),
    );
    await untilAsync(async () => (await running.status()).requestsInFlight === 2);
    const { workers } = await running.status();
    process.kill(workers[0]!.pid, 'SIGKILL');
    expect(await Promise.race(ended)).toBe('cut');
    await untilAsync(async () => {
      const status = await running.status();
      return status.restarts === 1 && status.workers.filter(({ isServing }) => isServing).length === 2;
    });
    const { plugins, requestsInFlight } = await running.status();
    // The other stream continues, and the new worker has the version and the kill switch of the old one.
    expect(requestsInFlight).toBe(1);
    expect(plugins).toMatchObject([{ plugin: 'keep', version: '2.0.0', disabled: 'a test' }]);
    await until(() => running.log.some(({ msg }) => msg === 'a worker has died'));
  });
});

describe('the prompts that one worker records as cached', () => {
  it('decide where the other sends a conversation', async () => {
    const usage = { input_tokens: 1, output_tokens: 1, cache_read_input_tokens: 0, cache_creation_input_tokens: 9 };
    const answer = JSON.stringify({ usage });
    const answering = (_: unknown, response: ServerResponse) =>
      response.writeHead(200, { 'content-type': 'application/json' }).end(answer);
    const servers = [await upstream(answering), await upstream(answering), await upstream(answering)];
    const running = await program(servers[0]!, { keep: 'cache-aware' }, configFor(servers));
    const counts = () => servers.map(({ received }) => received.length);
    for (let conversation = 1; conversation <= 6; conversation++) {
      const body = JSON.stringify({ model: 'm', messages: [{ content: `conversation ${conversation}` }] });
      const before = counts();
      await post(running, body);
      await untilAsync(async () => {
        const { workers } = await running.status();
        return workers.every(({ knownPrompts }) => knownPrompts === conversation);
      });
      // The next connection goes to the other worker.
      await post(running, body);
      expect(
        counts()
          .map((count, index) => count - before[index]!)
          .sort(),
      ).toEqual([0, 0, 2]);
    }
  });
});

describe('the admin server', () => {
  it('answers queries of operators', async () => {
    const server = await upstream(ok);
    const running = await program(server, { keep: 'cache-aware' });
    const get = async (path: string) => {
      const answer = await request(`${running.admin}${path}`);
      return { status: answer.statusCode, type: answer.headers['content-type'], text: await answer.body.text() };
    };
    expect(await get('/healthz')).toMatchObject({ status: 200, text: '{"ok":true,"problems":[]}' });
    expect(await get('/readyz')).toMatchObject({ status: 200, text: '{"ready":true}' });
    const [plugin] = JSON.parse((await get('/plugins')).text);
    expect(plugin).toMatchObject({ plugin: 'keep', principal: null, kind: 'filter', version: '1.0.0', disabled: null });
    expect(await get('/')).toMatchObject({ status: 200, type: 'text/html; charset=utf-8' });
    expect((await get('/other')).status).toBe(404);
    expect((await request(running.admin, { method: 'DELETE' })).statusCode).toBe(405);
  });

  it('shows traffic and decisions', async () => {
    const server = await upstream(ok);
    const running = await program(server, { keep: 'cache-aware' });
    await post(running);
    await untilAsync(async () => (await running.status()).recent.length === 1);
    const { recent, statuses, requestsInFlight, upstreams } = await running.status();
    expect({ statuses, requestsInFlight, upstreams }).toEqual({
      statuses: { 200: 1 },
      requestsInFlight: 0,
      upstreams: [{ name: 'upstream-0', breaker: 'closed' }],
    });
    const decisions = [{ plugin: 'keep', kept: 1, reason: '' }];
    expect(recent[0]).toMatchObject({ principal: 'me', upstream: 'upstream-0', status: 200, decisions });
  });

  it('changes nothing without the token', async () => {
    const server = await upstream(ok);
    const running = await program(server, { keep: 'cache-aware' });
    const disable = { plugin: 'keep', reason: 'a test' };
    expect((await running.change('/plugins/disable', disable, 'guessed')).status).toBe(401);
    const [plugin] = (await running.status()).plugins;
    expect(plugin).toMatchObject({ disabled: null });
  });

  it('changes nothing if the config names no token', async () => {
    const server = await upstream(ok);
    const running = await program(server, {}, { admin: { host: '127.0.0.1', port: 0 } });
    expect((await running.change('/plugins/enable', { plugin: 'keep' })).status).toBe(403);
  });

  it('disables, enables and rolls back', async () => {
    const server = await upstream((_, response, body) => response.end(body));
    const running = await program(server, { keep: 'cache-aware' });
    expect((await running.change('/plugins/disable', { plugin: 'keep', reason: 'a test' })).status).toBe(200);
    expect((await running.status()).plugins).toMatchObject([{ disabled: 'a test' }]);
    for (let i = 0; i < 4; i++) expect((await post(running)).status).toBe(200);
    const [plugin] = (await running.status()).plugins;
    expect(plugin).toMatchObject({ calls: 0, unavailable: 4 });
    expect((await running.change('/plugins/enable', { plugin: 'keep' })).status).toBe(200);
    expect((await running.status()).plugins).toMatchObject([{ disabled: null }]);

    expect((await running.change('/plugins/rollback', { plugin: 'keep' })).status).toBe(409);
    running.put('keep', 'cache-aware-v2');
    await untilAsync(async () => (await running.status()).plugins[0]?.version === '2.0.0');
    expect((await running.change('/plugins/rollback', { plugin: 'keep' })).status).toBe(200);
    expect((await running.status()).plugins).toMatchObject([{ version: '1.0.0' }]);
  });

  it('explains a route without sending anything', async () => {
    const server = await upstream(ok);
    const running = await program(server, { keep: 'cache-aware', rewrite: 'rewrite' });
    const { status, body } = await running.change('/explain', {
      principal: 'me',
      path: '/v1/messages?a=1',
      headers: [['cookie', 'a=1']],
      body: '{}',
    });
    expect(status).toBe(200);
    expect(body).toMatchObject({
      candidates: [{ name: 'upstream-0', breaker: 'closed' }],
      filters: [{ plugin: 'keep', kept: ['upstream-0'], rejected: [] }],
      order: ['upstream-0'],
      request: { kind: 'shaped', url: `${server.url}/v1/messages?a=1`, headers: [['x-shaped-by', 'rewrite/1.0.0']] },
      problem: null,
    });
    expect(server.received).toEqual([]);
    expect((await running.change('/explain', { principal: 'nobody' })).status).toBe(409);
    expect((await running.change('/explain', { principl: 'me' })).status).toBe(400);
  });

  it('escapes names and reasons', async () => {
    const name = '<img src=x onerror=alert(1)>\u001b[31m\n{"level":60}';
    const server = await upstream(ok);
    const misbehaving = { kind: 'filter', name, file: join(GUESTS, 'misbehave.wasm') };
    const principals = [
      {
        ...{ id: 'me', kind: 'api_key', claims: { do: 'unreachable' } },
        keySha256: '2744ccd10c7533bd736ad890f9dd5cab2adb27b07d500b9493f29cdc420cb2e0',
      },
    ];
    const running = await program(server, {}, { plugins: [misbehaving], principals });
    expect((await post(running)).status).toBe(200);
    await until(() => running.log.some(({ msg }) => msg === 'request'));
    // Each line parses on its own, and no control character reaches a terminal.
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the test matches control characters
    expect(running.output()).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
    expect((await running.status()).plugins).toMatchObject([{ plugin: name }]);
    const page = await (await request(running.admin)).body.text();
    expect(page).not.toMatch(/innerHTML|insertAdjacentHTML|document\.write/);
  });
});
