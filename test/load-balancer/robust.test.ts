import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { createGzip, gunzipSync } from 'node:zlib';
import { request } from 'undici';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { LoadBalancerOptions } from '../../examples/load-balancer/load-balancer.ts';
import type { RequestRecord } from '../../examples/load-balancer/record.ts';
import type { PluginRoute } from '../../examples/load-balancer/routes.ts';
import { loadBalancer, plugin, routes, until, upstream } from './support.ts';

const ok = (_: unknown, response: { end(text: string): unknown }) => response.end('ok');

async function post(url: string, options: { headers?: Record<string, string>; body?: string } = {}) {
  const headers = { 'x-api-key': 'me', ...options.headers };
  const answer = await request(`${url}/v1/messages`, { method: 'POST', headers, body: options.body ?? '{}' });
  return { status: answer.statusCode, headers: answer.headers, text: await answer.body.text() };
}

/** Creates a server that handles each connection with `serve`. */
async function rawServer(serve: (socket: Socket) => void): Promise<{ url: string; connections(): number }> {
  let connections = 0;
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    connections++;
    sockets.add(socket);
    socket.on('error', () => {});
    serve(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, connections: () => connections };
}

/** Sends raw bytes; returns all received bytes until the connection closes. */
function exchange(url: string, text: string): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    let answer = '';
    const socket = connect(Number(port), hostname, () => socket.write(text));
    socket.on('data', (chunk) => (answer += chunk));
    socket.on('error', () => {});
    socket.on('close', () => resolve(answer));
  });
}

/** What differs between uploads. */
interface UploadCase {
  readonly plugins?: readonly PluginRoute[];
  readonly limits?: { readonly bodyBytes?: number };
  readonly isChunked?: boolean;
}

/** A request that may be followed by another one on its connection. */
const pipelined = (path: string, isLast = false) =>
  `POST ${path} HTTP/1.1\r\nhost: lb\r\nx-api-key: me\r\n${isLast ? 'connection: close\r\n' : ''}content-length: 2\r\n\r\n{}`;

describe('an upstream that', () => {
  it('does not answer produces 504', async () => {
    const server = await upstream(() => {});
    const { url } = await loadBalancer(routes([server]), { timeouts: { headersMs: 1_000 } });
    expect((await post(url)).status).toBe(504);
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
    expect((await post(url)).status).toBe(502);
    expect(server.connections()).toBe(1);
  });

  it('closes during its answer produces an incomplete answer', async () => {
    const server = await upstream((_, response) => {
      response.writeHead(200, { 'content-length': '100' });
      response.write('half');
    });
    const { url } = await loadBalancer(routes([server]), { timeouts: { idleMs: 1_000 } });
    await expect(post(url)).rejects.toThrow();
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
    expect([(await post(url)).status, (await post(url)).status]).toEqual([502, 502]);
    expect(breaker.state).toBe('open');
    const refused = await post(url);
    expect(refused).toMatchObject({ status: 503, headers: { 'retry-after': '1' } });
    expect(server.connections()).toBe(2);
    await until(() => breaker.state === 'half-open');
    expect((await post(url)).status).toBe(502);
    expect(breaker.state).toBe('open');
    fails = false;
    await until(() => breaker.state === 'half-open');
    expect((await post(url)).status).toBe(200);
    expect(breaker.state).toBe('closed');
  });

  it('fails is skipped while another one serves', async () => {
    const bad = await rawServer((socket) => socket.on('data', () => socket.destroy()));
    const good = await upstream(ok);
    const { url } = await loadBalancer(routes([bad, good]), { breaker: { failures: 1, openMs: 60_000 } });
    const statuses = [];
    for (let i = 0; i < 6; i++) statuses.push((await post(url)).status);
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
    expect(await post(url)).toMatchObject({ status: 503, headers: { 'retry-after': '1' } });
    await balancer.publish(routes([hung, spare]));
    for (let i = 0; i < 3; i++) expect((await post(url)).status).toBe(200);
    await balancer.publish(routes([hung]));
    socket.destroy();
    await until(() => balancer.requestsInFlight === 0);
    await until(() => balancer.view.targets[0]!.upstream.admits);
    post(url).catch(() => {});
    await until(() => hung.received.length === 2);
  });

  it.each([[[]], [[plugin('shape', 'rewrite')]]])(
    'receives no more requests at once than it has connections',
    async (plugins) => {
      const answers: (() => void)[] = [];
      const server = await upstream((_, response) => answers.push(() => response.end('ok')));
      const { url } = await loadBalancer(routes([server], { plugins }), { limits: { upstreamConnections: 2 } });
      const statuses: number[] = [];
      const all = Array.from({ length: 10 }, async () => statuses.push((await post(url)).status));
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
      for (let i = 0; i < 3; i++) expect((await post(url)).status).toBe(500);
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
    const onLesson = () => {
      throw new Error('thrown by a callback');
    };
    const { url, balancer } = await loadBalancer(routes([server], { plugins: [plugin('filter', 'cache-aware')] }), {
      limits: { upstreamConnections: 1 },
      onLesson,
    });
    await post(url, { body: '{"messages":[1]}' }).catch(() => {});
    await until(() => balancer.requestsInFlight === 0);
    isHung = true;
    post(url).catch(() => {});
    await until(() => server.received.length === 2);
    expect((await post(url)).status).toBe(503);
  });

  it('answers 5xx keeps its breaker closed', async () => {
    const server = await upstream((_, response) => response.writeHead(500).end());
    const { url, balancer } = await loadBalancer(routes([server]), { breaker: { failures: 1, openMs: 60_000 } });
    for (let i = 0; i < 3; i++) expect((await post(url)).status).toBe(500);
    expect(balancer.view.targets[0]!.upstream.breaker.state).toBe('closed');
  });

  it('differs from the origin of a shaped request receives neither request nor key', async () => {
    const server = await upstream(ok);
    const elsewhere = plugin('shape', 'misbehave', { failurePolicy: 'fail-closed' });
    const { upstreams, ...rest } = routes([server], { plugins: [elsewhere] });
    const { url, log } = await loadBalancer({ ...rest, upstreams: [{ ...upstreams[0]!, apiKey: 'theirs' }] });
    expect((await post(url)).status).toBe(503);
    expect(server.received).toEqual([]);
    expect(log).toMatchObject([{ message: 'a shape failed', error: { message: expect.stringContaining('origin') } }]);
  });
});

describe('a client that', () => {
  const WHOLE =
    'POST /v1/messages HTTP/1.1\r\nhost: lb\r\nx-api-key: me\r\ncontent-type: application/json\r\ncontent-length: 20\r\n\r\n' +
    '{"messages":[{}]}   ';
  it('disconnects at any byte of its request affects only that request', async () => {
    const server = await upstream(ok);
    const { url, balancer } = await loadBalancer(routes([server], { plugins: [plugin('filter', 'cache-aware')] }));
    const { hostname, port } = new URL(url);
    for (let at = 1; at <= WHOLE.length; at++) {
      await new Promise<void>((resolve) => {
        const socket = connect(Number(port), hostname, () => socket.write(WHOLE.slice(0, at), () => socket.destroy()));
        socket.on('close', () => resolve());
        socket.on('error', () => {});
      });
    }
    await until(() => balancer.requestsInFlight === 0);
    expect((await post(url)).status).toBe(200);
  });

  it.each([
    [
      'both lengths',
      'content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: lb\r\n\r\n',
    ],
    ['two lengths', 'content-length: 2\r\ncontent-length: 3\r\n\r\n{}'],
    ['an encoding that is not known', 'transfer-encoding: xchunked\r\n\r\n0\r\n\r\n'],
    ['a header name with a space', 'content-length : 2\r\n\r\n{}'],
    ['a header continued on the next line', 'x-a: 1\r\n  content-length: 2\r\n\r\n'],
    ['a bare line feed in a header', 'x-a: 1\ncontent-length: 2\r\n\r\n{}'],
  ])('attempts request smuggling by %s reaches no upstream', async (_, rest) => {
    const server = await upstream(ok);
    const { url } = await loadBalancer(routes([server]));
    const head = 'POST /v1/messages HTTP/1.1\r\nhost: lb\r\nx-api-key: me\r\nconnection: close\r\n';
    const answer = await exchange(url, head + rest);
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
    expect(server.received.filter(({ request: { url: path } }) => path !== '/v1/messages')).toEqual([]);
  });

  it('sends headers beyond the limits is rejected', async () => {
    const server = await upstream(ok);
    const { url } = await loadBalancer(routes([server]), { limits: { headerBytes: 2_048 } });
    expect((await post(url, { headers: { 'x-long': 'y'.repeat(4_000) } })).status).toBe(431);
    expect(server.received).toEqual([]);
  });

  it('sends more header lines than the limit is rejected', async () => {
    const server = await upstream(ok);
    const { url } = await loadBalancer(routes([server]), { limits: { headers: 20 } });
    const many = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`x-${i}`, '1']));
    expect((await post(url, { headers: many })).status).toBe(431);
    expect(server.received).toEqual([]);
  });

  it('opens more connections than the limit has the others closed', async () => {
    const server = await upstream(ok);
    const { url } = await loadBalancer(routes([server]), { limits: { connections: 1 } });
    const { hostname, port } = new URL(url);
    const first = connect(Number(port), hostname, () => first.write(WHOLE));
    // Once it is answered, the connection counts.
    await new Promise((resolve) => first.once('data', resolve));
    expect(await exchange(url, WHOLE)).toBe('');
    first.destroy();
  });

  it('pipelines requests receives the answers in order', async () => {
    const server = await upstream(async ({ url }, response) => {
      await delay(url === '/0' ? 50 : 0);
      response.end(url);
    });
    const { url } = await loadBalancer(routes([server]));
    const paths = ['/0', '/1', '/2'];
    const answer = await exchange(url, paths.map((path) => pipelined(path, path === '/2')).join(''));
    expect(answer.match(/\/\d(?!\.)/g)).toEqual(paths);
  });

  it('pipelines requests and disconnects leaves none in flight', async () => {
    const server = await upstream(() => {});
    const { url, balancer } = await loadBalancer(routes([server]), { limits: { requests: 2 } });
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname, () => socket.write(pipelined('/').repeat(4)));
    await until(() => server.received.length === 1);
    expect(balancer.requestsInFlight).toBe(1);
    socket.destroy();
    await until(() => balancer.requestsInFlight === 0);
    await balancer.close();
    expect(server.received).toHaveLength(1);
  });

  it('pipelines more requests than may wait is disconnected', async () => {
    const server = await upstream(() => {});
    const { url } = await loadBalancer(routes([server]));
    expect(await exchange(url, pipelined('/').repeat(100))).toBe('');
  });

  it('stops reading its answer is disconnected', async () => {
    let left = false;
    const server = await upstream((request, response) => {
      request.socket.once('close', () => (left = true));
      response.end(Buffer.alloc(64 * 2 ** 20));
    });
    const { url, balancer } = await loadBalancer(routes([server]), { timeouts: { idleMs: 200 } });
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname, () => socket.write(WHOLE));
    onTestFinished(() => void socket.destroy());
    await until(() => server.received.length === 1);
    await until(() => left && balancer.requestsInFlight === 0);
  });

  it('stops reading an answer that was transformed completely is disconnected', async () => {
    const server = await upstream((_, response) => response.end(Buffer.alloc(16 * 2 ** 20)));
    const plugins = [plugin('shape', 'transforms', { failurePolicy: 'pass-through' })];
    const { url, balancer } = await loadBalancer(routes([server], { plugins }), { timeouts: { idleMs: 200 } });
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname, () => socket.write(WHOLE));
    onTestFinished(() => void socket.destroy());
    await until(() => server.received.length === 1);
    await until(() => balancer.requestsInFlight === 0);
  });

  it('waits longer than the time limit for reading receives its answer', async () => {
    const server = await upstream(async (_, response) => {
      await delay(500);
      response.end('late');
    });
    const { url } = await loadBalancer(routes([server]), { timeouts: { idleMs: 100 } });
    expect(await post(url)).toMatchObject({ status: 200, text: 'late' });
  });

  it('sends its request too slowly is disconnected', async () => {
    const server = await upstream(ok);
    const { url } = await loadBalancer(routes([server]), { timeouts: { requestHeadersMs: 200, requestMs: 300 } });
    expect(await exchange(url, 'POST /v1/messages HTTP/1.1\r\nhost:')).toMatch(/^HTTP\/1\.1 408 /);
  });

  it.each([
    ['has no key', 'wrong', {}, 401],
    ['is refused by its upstream before its end', 'me', {}, 413],
    ['is refused by its upstream while a plugin reads it', 'me', { plugins: [plugin('filter', 'cache-aware')] }, 413],
    ['exceeds the limit', 'me', { limits: { bodyBytes: 1_000_000 } }, 413],
    ['exceeds the limit without content-length', 'me', { limits: { bodyBytes: 1_000_000 }, isChunked: true }, 413],
  ] as const)(
    'reads only after its upload receives the answer if the upload %s',
    async (_, key, { plugins = [], limits = {}, isChunked = false }: UploadCase, status) => {
      const server = await rawServer((socket) => {
        socket.once('data', () => {
          socket.pause();
          socket.write('HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno');
        });
      });
      const { url } = await loadBalancer(routes([server], { plugins }), { limits });
      const { hostname, port } = new URL(url);
      const bytes = 20_000_000;
      const length = isChunked ? 'transfer-encoding: chunked' : `content-length: ${bytes}`;
      const socket = connect(Number(port), hostname);
      onTestFinished(() => void socket.destroy());
      socket.write(`POST / HTTP/1.1\r\nhost: lb\r\nx-api-key: ${key}\r\n${length}\r\n\r\n`);
      if (isChunked) socket.write(`${bytes.toString(16)}\r\n`);
      await new Promise((resolve) => socket.write(Buffer.alloc(bytes), resolve));
      if (isChunked) socket.write('\r\n0\r\n\r\n');
      const [answer] = await once(socket, 'data');
      expect(String(answer)).toContain(`HTTP/1.1 ${status} `);
      // The connection is used again.
      socket.write(pipelined('/'));
      expect(String((await once(socket, 'data'))[0])).toContain('HTTP/1.1 413 ');
    },
  );

  it('uploads slowly has its bytes forwarded as they arrive', async () => {
    const parts: number[] = [];
    const server = await rawServer((socket) => {
      socket.on('data', (chunk) => {
        parts.push(chunk.length);
        if (parts.reduce((sum, length) => sum + length, 0) > 200_000) {
          socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok');
        }
      });
    });
    const { url } = await loadBalancer(routes([server]));
    const head =
      'POST /v1/messages HTTP/1.1\r\nhost: lb\r\nx-api-key: me\r\nconnection: close\r\ncontent-length: 200000\r\n\r\n';
    const { hostname, port } = new URL(url);
    const answer = await new Promise<string>((resolve) => {
      let text = '';
      const socket = connect(Number(port), hostname, async () => {
        socket.write(head + 'x'.repeat(100_000));
        await until(() => parts.length > 0);
        socket.write('x'.repeat(100_000));
      });
      socket.on('data', (chunk) => (text += chunk));
      socket.on('close', () => resolve(text));
    });
    expect(answer).toMatch(/^HTTP\/1\.1 200 /);
  });
});

describe('the record of a request', () => {
  /** Returns the status and the completeness of each finished request. */
  async function recorded(handler: Parameters<typeof upstream>[0], options: LoadBalancerOptions = {}) {
    const server = await upstream(handler);
    const records: [status: number, isComplete: boolean][] = [];
    const accessLog = ({ status, isComplete }: RequestRecord) => void records.push([status, isComplete]);
    const { url, balancer } = await loadBalancer(routes([server]), { ...options, accessLog });
    const series = async () => (await balancer.registry.metrics()).match(/^cc_lb_requests_\w+_total\S* \d+$/gm);
    return { url, records, series, server };
  }

  it('reports whether the answer is complete', async () => {
    const { url, records, series } = await recorded((_, response, body) => {
      response.writeHead(200, { 'content-length': '5' });
      if (body === 'whole') response.end('whole');
      else response.write('half', () => body === 'dies' && response.destroy());
    });
    await post(url, { body: 'whole' });
    await until(() => records.length === 1);
    await post(url, { body: 'dies' }).catch(() => {});
    await until(() => records.length === 2);
    const { body } = await request(url, { method: 'POST', headers: { 'x-api-key': 'me' }, body: 'hangs' });
    body.on('error', () => {}).destroy();
    await until(() => records.length === 3);
    expect(records).toEqual([
      [200, true],
      [200, false],
      [200, false],
    ]);
    expect(await series()).toContain('cc_lb_requests_incomplete_total 2');
  });

  it('exists for a request beyond the limits', async () => {
    const answers: (() => void)[] = [];
    const { url, records } = await recorded((_, response) => answers.push(() => response.end('ok')), {
      limits: { requests: 1, headers: 20 },
    });
    const first = post(url);
    await until(() => answers.length === 1);
    expect((await post(url)).status).toBe(503);
    answers[0]!();
    await first;
    const many = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`x-${i}`, '1']));
    expect((await post(url, { headers: many })).status).toBe(431);
    await until(() => records.length === 3);
    expect(records).toEqual([
      [503, true],
      [200, true],
      [431, true],
    ]);
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
    const { text } = await post(url);
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
    expect((await post(url)).text).toMatch(/^(: keep-alive\n\n)*data: 1\n\n(: keep-alive\n\n)+data: 2\n\n$/);
  });
});
