import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { request } from 'undici';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { LoadBalancerOptions } from '../../examples/load-balancer/options.ts';
import type { RequestRecord } from '../../examples/load-balancer/record.ts';
import type { PluginRoute } from '../../examples/load-balancer/routes.ts';
import { collector } from '../support/collector.ts';
import { loadBalancer, ok, pipelined, plugin, rawServer, reply, routes, until, upstream } from './support.ts';

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
    expect((await reply(url)).status).toBe(200);
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

  it("sends TRACE does not receive the upstream's key", async () => {
    const server = await upstream(({ headers }, response) => response.end(JSON.stringify(headers)));
    const { upstreams, ...rest } = routes([server]);
    const { url } = await loadBalancer({ ...rest, upstreams: upstreams.map((one) => ({ ...one, apiKey: 'theirs' })) });
    const traced = (method: string) => request(url, { method: method as 'TRACE', headers: { 'x-api-key': 'me' } });
    expect(await (await traced('GET')).body.text()).toContain('theirs');
    expect((await traced('TRACE')).statusCode).toBe(501);
    expect(server.received).toHaveLength(1);
  });

  it('sends headers beyond the limits is rejected', async () => {
    const server = await upstream(ok);
    const { url } = await loadBalancer(routes([server]), { limits: { headerBytes: 2_048 } });
    expect((await reply(url, { headers: { 'x-long': 'y'.repeat(4_000) } })).status).toBe(431);
    expect(server.received).toEqual([]);
  });

  it('sends more header lines than the limit is rejected', async () => {
    const server = await upstream(ok);
    const { url } = await loadBalancer(routes([server]), { limits: { headers: 20 } });
    const many = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`x-${i}`, '1']));
    expect((await reply(url, { headers: many })).status).toBe(431);
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
    expect(await reply(url)).toMatchObject({ status: 200, text: 'late' });
  });

  it('sends its request too slowly is disconnected', async () => {
    const server = await upstream(ok);
    const { url } = await loadBalancer(routes([server]), { timeouts: { requestHeadersMs: 200, requestMs: 300 } });
    expect(await exchange(url, 'POST /v1/messages HTTP/1.1\r\nhost:')).toMatch(/^HTTP\/1\.1 408 /);
  });

  it('sends its body in chunks of one byte takes little more memory than its bytes', async () => {
    const server = await upstream(ok);
    const { url } = await loadBalancer(routes([server]));
    const { hostname, port } = new URL(url);
    const collect = collector();
    const socket = connect(Number(port), hostname);
    onTestFinished(() => void socket.destroy());
    socket.write('POST / HTTP/1.1\r\nhost: lb\r\nx-api-key: me\r\ntransfer-encoding: chunked\r\n\r\n');
    collect();
    const { heapUsed } = process.memoryUsage();
    const bytes = 200_000;
    socket.write('1\r\nx\r\n'.repeat(bytes));
    // Everything was read when the server has answered a request on another connection and this one is drained.
    await until(() => socket.writableLength === 0);
    await reply(url);
    collect();
    expect(process.memoryUsage().heapUsed - heapUsed).toBeLessThan(50 * bytes);
    socket.write('0\r\n\r\n');
    await until(() => server.received.length === 2);
    expect(server.received[1]!.body).toBe('x'.repeat(bytes));
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

  it('uploads without end after its answer is disconnected at the time limit of a request', async () => {
    const { url } = await loadBalancer(routes([]), { timeouts: { requestHeadersMs: 200, requestMs: 400 } });
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname);
    socket.on('error', () => {});
    socket.write('POST / HTTP/1.1\r\nhost: lb\r\ncontent-length: 1000000\r\n\r\n');
    const upload = setInterval(() => socket.write('x'), 20);
    onTestFinished(() => clearInterval(upload));
    expect(String((await once(socket, 'data'))[0])).toContain('HTTP/1.1 401 ');
    await new Promise((resolve) => socket.once('close', resolve));
  });

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
    await reply(url, { body: 'whole' });
    await until(() => records.length === 1);
    await reply(url, { body: 'dies' }).catch(() => {});
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
    const first = reply(url);
    await until(() => answers.length === 1);
    expect((await reply(url)).status).toBe(503);
    answers[0]!();
    await first;
    const many = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`x-${i}`, '1']));
    expect((await reply(url, { headers: many })).status).toBe(431);
    await until(() => records.length === 3);
    expect(records).toEqual([
      [503, true],
      [200, true],
      [431, true],
    ]);
  });
});
