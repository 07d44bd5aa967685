import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { createGzip, gunzipSync } from 'node:zlib';
import { request } from 'undici';
import { describe, expect, it } from 'vitest';
import { rawExchange, readResponse } from '../support/gateway.ts';
import {
  loadBalancer,
  ok,
  pipelined,
  plugin,
  principal,
  rawServer,
  reply,
  routes,
  until,
  upstream,
} from './support.ts';

describe('an upstream that', () => {
  it('does not answer produces 504', async () => {
    const server = await upstream(() => {});
    const { url } = await loadBalancer(routes([server]), { timeouts: { headersMs: 1_000 } });
    expect((await reply(url)).status).toBe(504);
  });

  it.each([
    ['resets the connection', (socket: Socket) => socket.once('data', () => socket.resetAndDestroy())],
    ['answers garbage', (socket: Socket) => socket.once('data', () => socket.end('certainly not HTTP\r\n\r\n'))],
    ['closes without an answer', (socket: Socket) => socket.once('data', () => socket.end())],
    [
      'answers with endless headers',
      (socket: Socket) => socket.once('data', () => socket.write(`HTTP/1.1 200 OK\r\nx: ${'y'.repeat(100_000)}`)),
    ],
  ] as const)('%s is a 502, and is not asked again', async (_, serve) => {
    const server = await rawServer(serve);
    const { url } = await loadBalancer(routes([server, server]));
    expect((await reply(url)).status).toBe(502);
    expect(server.connections()).toBe(1);
  });

  it('closes during its answer produces an incomplete answer', async () => {
    const server = await upstream((_, response) => {
      response.writeHead(200, { 'content-length': '100' });
      response.write('half');
    });
    const { url } = await loadBalancer(routes([server]), { timeouts: { idleMs: 1_000 } });
    await expect(reply(url)).rejects.toThrow();
  });

  it('never ends its answer is disconnected when the client disconnects', async () => {
    const server = await upstream(async (_, response) => {
      while (!response.destroyed) {
        response.write('more');
        await delay(5);
      }
    });
    const { url, balancer } = await loadBalancer(routes([server]));
    const { body } = await request(url, { method: 'POST', headers: { 'x-api-key': 'me' }, body: '{}' });
    body.on('error', () => {});
    await new Promise((resolve) => body.once('data', resolve));
    body.destroy();
    await until(() => balancer.requestsInFlight === 0);
  });

  it('never ends its events is disconnected when a transform fails', async () => {
    let isClosed = false;
    const server = await upstream((_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: 1\n\n');
      response.on('close', () => (isClosed = true));
    });
    const plugins = [plugin('shape', 'transforms', { failurePolicy: 'fail-closed' })];
    const principals = [principal('me', { transform: 'large:200000' })];
    const engine = { wireBounds: { outputBodyBytes: 100_000 } };
    const { url } = await loadBalancer(routes([server], { principals, plugins }), { engine });
    expect((await reply(url)).text).toMatch(/could not be transformed/);
    await until(() => isClosed);
  });

  it('fails repeatedly receives no requests until a trial request', async () => {
    let fails = true;
    const server = await rawServer((socket) => {
      socket.on('data', () => {
        if (fails) socket.destroy();
        else socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok');
      });
    });
    const { url, balancer } = await loadBalancer(routes([server]), { breaker: { failures: 2, openMs: 200 } });
    const { breaker } = balancer.view.targets[0]!.upstream;
    expect([(await reply(url)).status, (await reply(url)).status]).toEqual([502, 502]);
    expect(breaker.state).toBe('open');
    const refused = await reply(url);
    expect(refused).toMatchObject({ status: 503, headers: { 'retry-after': '1' } });
    expect(server.connections()).toBe(2);
    await until(() => breaker.state === 'half-open');
    expect((await reply(url)).status).toBe(502);
    expect(breaker.state).toBe('open');
    fails = false;
    await until(() => breaker.state === 'half-open');
    expect((await reply(url)).status).toBe(200);
    expect(breaker.state).toBe('closed');
  });

  it('fails is skipped while another one serves', async () => {
    const bad = await rawServer((socket) => socket.on('data', () => socket.destroy()));
    const good = await upstream(ok);
    const { url } = await loadBalancer(routes([bad, good]), { breaker: { failures: 1, openMs: 60_000 } });
    const statuses = [];
    for (let i = 0; i < 6; i++) statuses.push((await reply(url)).status);
    expect(statuses.filter((status) => status === 502)).toHaveLength(1);
    expect(good.received).toHaveLength(5);
  });

  it('has no free connection receives no request, and no request waits for it', async () => {
    const hung = await upstream(() => {});
    const spare = await upstream(ok);
    const limits = { upstreamConnections: 1 };
    const { url, balancer } = await loadBalancer(routes([hung]), { limits });
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname, () => socket.write(pipelined('/')));
    await until(() => hung.received.length === 1);
    expect(await reply(url)).toMatchObject({ status: 503, headers: { 'retry-after': '1' } });
    await balancer.publish(routes([hung, spare]));
    for (let i = 0; i < 3; i++) expect((await reply(url)).status).toBe(200);
    await balancer.publish(routes([hung]));
    socket.destroy();
    await until(() => balancer.requestsInFlight === 0);
    await until(() => balancer.view.targets[0]!.upstream.admits('me'));
    reply(url).catch(() => {});
    await until(() => hung.received.length === 2);
  });

  it.each([[[]], [[plugin('shape', 'rewrite')]]])(
    'receives no more requests at once than it has connections',
    async (plugins) => {
      const answers: (() => void)[] = [];
      const server = await upstream((_, response) => answers.push(() => response.end('ok')));
      const { url } = await loadBalancer(routes([server], { plugins }), { limits: { upstreamConnections: 4 } });
      const statuses: number[] = [];
      const all = Array.from({ length: 10 }, async () => statuses.push((await reply(url)).status));
      await until(() => answers.length === 2 && statuses.length === 8);
      expect(new Set(statuses)).toEqual(new Set([503]));
      for (const answer of answers) answer();
      await Promise.all(all);
      expect(statuses.slice(8)).toEqual([200, 200]);
    },
  );

  it.each(['theirs\n', 'theirs\u0100'])(
    'has a key that cannot be sent (%j) keeps its breaker closed',
    async (apiKey) => {
      const server = await upstream(ok);
      const { upstreams, ...rest } = routes([server, server]);
      const served = { ...rest, upstreams: upstreams.map((route) => ({ ...route, apiKey })) };
      const { url, balancer, log } = await loadBalancer(served, { breaker: { failures: 1, openMs: 60_000 } });
      for (let i = 0; i < 3; i++) expect((await reply(url)).status).toBe(500);
      expect(balancer.view.targets.map(({ upstream: { breaker } }) => breaker.state)).toEqual(['closed', 'closed']);
      expect(log.map(({ message }) => message)).toEqual(Array(3).fill('a request failed'));
    },
  );

  it('has one free connection for each finished request, also if a callback throws', async () => {
    const usage = JSON.stringify({ usage: { cache_read_input_tokens: 1 } });
    let isHung = false;
    const server = await upstream((_, response) => {
      if (!isHung) response.writeHead(200, { 'content-type': 'application/json' }).end(usage);
    });
    const onCached = () => {
      throw new Error('thrown by a callback');
    };
    const { url, balancer } = await loadBalancer(routes([server], { plugins: [plugin('filter', 'cache-aware')] }), {
      limits: { upstreamConnections: 1 },
      onCached,
    });
    await reply(url, { body: '{"messages":[1]}' }).catch(() => {});
    await until(() => balancer.requestsInFlight === 0);
    isHung = true;
    reply(url).catch(() => {});
    await until(() => server.received.length === 2);
    expect((await reply(url)).status).toBe(503);
  });

  it.each(['content-length', 'the end of the connection'])(
    'closes its connection while an answer framed by %s waits for a transform is answered',
    async (framing) => {
      const event = `data: ${'x'.repeat(1_000_000)}\n\n`;
      const server = await rawServer((socket) => {
        socket.once('data', () => {
          const length = framing === 'content-length' ? `content-length: ${event.length}\r\n` : '';
          socket.write(`HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n${length}\r\n`);
          setTimeout(() => socket.end(event), 20);
        });
      });
      const { url } = await loadBalancer(routes([server], { plugins: [plugin('shape', 'transforms')] }));
      const answers = await Promise.all(Array.from({ length: 5 }, () => reply(url)));
      for (const { status, text } of answers) expect([status, text === event]).toEqual([200, true]);
    },
  );

  it('states the content-length of a body that a 304 does not have is answered', async () => {
    const server = await rawServer((socket) => {
      socket.on('data', () => socket.write('HTTP/1.1 304 Not Modified\r\netag: "1"\r\ncontent-length: 5\r\n\r\n'));
    });
    const { url, balancer, log } = await loadBalancer(routes([server]));
    // Not undici, which rejects such an answer.
    const bytes = await rawExchange(url, pipelined('/', true));
    expect(readResponse(bytes)).toMatchObject({ status: 304, headers: { etag: '"1"' } });
    await until(() => balancer.requestsInFlight === 0);
    expect(log).toEqual([]);
  });

  it('states a content-length with a 204 is answered without it', async () => {
    const server = await rawServer((socket) => {
      socket.on('data', () => socket.write('HTTP/1.1 204 No Content\r\netag: "1"\r\ncontent-length: 5\r\n\r\n'));
    });
    const { url } = await loadBalancer(routes([server]));
    const { status, headers } = readResponse(await rawExchange(url, pipelined('/', true)));
    expect([status, headers.etag, headers['content-length']]).toEqual([204, '"1"', undefined]);
  });

  it('repeats its content-type is answered', async () => {
    const type = 'content-type: application/json\r\n';
    const server = await rawServer((socket) =>
      socket.on('data', () => socket.write(`HTTP/1.1 200 OK\r\n${type}${type}content-length: 2\r\n\r\n{}`)),
    );
    const { url, log } = await loadBalancer(routes([server]));
    expect(await reply(url)).toMatchObject({ status: 200, text: '{}' });
    expect(log).toEqual([]);
  });

  it('answers 5xx keeps its breaker closed', async () => {
    const server = await upstream((_, response) => response.writeHead(500).end());
    const { url, balancer } = await loadBalancer(routes([server]), { breaker: { failures: 1, openMs: 60_000 } });
    for (let i = 0; i < 3; i++) expect((await reply(url)).status).toBe(500);
    expect(balancer.view.targets[0]!.upstream.breaker.state).toBe('closed');
  });

  it('differs from the origin of a shaped request receives neither request nor key', async () => {
    const server = await upstream(ok);
    const elsewhere = plugin('shape', 'misbehave', { failurePolicy: 'fail-closed' });
    const { upstreams, ...rest } = routes([server], { plugins: [elsewhere] });
    const { url, log } = await loadBalancer({ ...rest, upstreams: [{ ...upstreams[0]!, apiKey: 'theirs' }] });
    expect((await reply(url)).status).toBe(503);
    expect(server.received).toEqual([]);
    expect(log).toMatchObject([{ message: 'a shape failed', error: { message: expect.stringContaining('origin') } }]);
  });
});

describe('an event stream that is silent', () => {
  const sse = { 'content-type': 'text/event-stream' };

  it('receives comments between events, and none inside an event', async () => {
    const server = await upstream(async (_, response) => {
      response.writeHead(200, sse);
      response.write('data: 1\n\n');
      await delay(200);
      response.write('data: 2\n');
      await delay(200);
      response.end('data: 3\n\n');
    });
    const { url } = await loadBalancer(routes([server]), { timeouts: { streamCommentMs: 20 } });
    const { text } = await reply(url);
    expect(text).toMatch(/^(: keep-alive\n\n)*data: 1\n\n(: keep-alive\n\n)+data: 2\ndata: 3\n\n$/);
  });

  it('receives no comments if it is compressed', async () => {
    const server = await upstream(async (_, response) => {
      response.writeHead(200, { ...sse, 'content-encoding': 'gzip' });
      const gzip = createGzip();
      gzip.pipe(response);
      response.flushHeaders();
      await delay(200);
      gzip.end('data: 1\n\n');
    });
    const { url } = await loadBalancer(routes([server]), { timeouts: { streamCommentMs: 20 } });
    const { body } = await request(url, { method: 'POST', headers: { 'x-api-key': 'me' }, body: '{}' });
    expect(gunzipSync(await body.bytes()).toString()).toBe('data: 1\n\n');
  });

  it('receives comments also with a transform', async () => {
    const server = await upstream(async (_, response) => {
      response.writeHead(200, sse);
      response.write('data: 1\n\n');
      await delay(200);
      response.end('data: 2\n\n');
    });
    const plugins = [plugin('shape', 'transforms')];
    const { url } = await loadBalancer(routes([server], { plugins }), { timeouts: { streamCommentMs: 20 } });
    expect((await reply(url)).text).toMatch(/^(: keep-alive\n\n)*data: 1\n\n(: keep-alive\n\n)+data: 2\n\n$/);
  });
});
