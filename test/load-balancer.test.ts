import { request as httpRequest } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { type ObserveEvent, ResponseTransformError } from 'cc-lb-runtime-wasmtime';
import { request } from 'undici';
import { describe, expect, it } from 'vitest';
import { loadBalancer, ok, plugin, post, principal, reply, routes, until, upstream } from './load-balancer/support.ts';
import { guest as guestOf, LONGER_THAN_PROBES, misbehavesAfterProbe } from './support/guest.ts';

const SSE = { 'content-type': 'text/event-stream' };
const JSON_TYPE = { 'content-type': 'application/json' };

describe('a request', () => {
  it('is forwarded without hop-by-hop headers and credentials, and otherwise unchanged', async () => {
    const server = await upstream(ok);
    const { url } = await loadBalancer(routes([server]));
    const raw = await new Promise<number>((resolve) => {
      const headers = {
        'x-api-key': 'me',
        authorization: 'Bearer other',
        connection: 'keep-alive, X-Hop',
        'x-hop': '1',
        te: 'trailers',
        'proxy-connection': 'keep-alive',
        'x-kept': ['1', '2'],
        'accept-encoding': 'gzip',
      };
      const sent = httpRequest(`${url}/v1/messages?a=1&b=%20`, { method: 'POST', headers }, (response) => {
        response.resume();
        resolve(response.statusCode!);
      });
      sent.end('{}');
    });
    expect(raw).toBe(200);
    const [{ request: seen, body }] = server.received as [(typeof server.received)[0]];
    expect(seen.url).toBe('/v1/messages?a=1&b=%20');
    expect(body).toBe('{}');
    const { host, connection, ...rest } = seen.headers;
    expect(host).toBe(new URL(server.url).host);
    expect(rest).toEqual({ 'x-kept': '1, 2', 'accept-encoding': 'identity', 'content-length': '2' });
  });

  it('is passed to plugins without hop-by-hop headers', async () => {
    const server = await upstream((_, response, body) => response.end(body));
    const { url } = await loadBalancer(routes([server], { plugins: [plugin('shape', 'report-0-1-0')] }));
    const { text } = await reply(url, { headers: { 'x-kept': '1', te: 'trailers', 'user-agent': 'a' } });
    const names = JSON.parse(text).headers.map(({ name }: { name: string }) => name);
    expect(names).toEqual(['x-kept', 'user-agent', 'content-length']);
  });

  it('has the key of its upstream', async () => {
    const server = await upstream(ok);
    const { upstreams, ...rest } = routes([server], { plugins: [plugin('shape', 'rewrite')] });
    const { url } = await loadBalancer({ ...rest, upstreams: [{ ...upstreams[0]!, apiKey: 'theirs' }] });
    await reply(url);
    expect(server.received[0]!.request.headers).toMatchObject({
      'x-api-key': 'theirs',
      'x-shaped-by': 'rewrite/1.0.0',
    });
  });

  it.each([
    ['an unknown key', { key: 'stranger' }, 401, 'authentication_error'],
    ['an empty key', { key: '' }, 401, 'authentication_error'],
    ['that is too large', { body: 'x'.repeat(1_001) }, 413, 'request_too_large'],
  ])('with %s are rejected', async (_, options, status, type) => {
    const server = await upstream(ok);
    const principals = [principal('me'), principal('')];
    const { url } = await loadBalancer(routes([server], { principals }), { limits: { bodyBytes: 1_000 } });
    const answer = await reply(url, options);
    expect(answer.status).toBe(status);
    expect(JSON.parse(answer.text).error.type).toBe(type);
    expect(server.received).toEqual([]);
  });

  it.each(['/v1/%2e./x', '/v1/..', '*', 'http://elsewhere.test/'])('is rejected with target %s', async (path) => {
    const server = await upstream(ok);
    const { url } = await loadBalancer(routes([server]));
    const status = await new Promise<number>((resolve) => {
      const { hostname, port } = new URL(url);
      const headers = { 'x-api-key': 'me' };
      httpRequest({ hostname, port, path, headers }, (response) => resolve(response.resume().statusCode!)).end();
    });
    expect(status).toBe(400);
    expect(server.received).toEqual([]);
  });

  it('is answered at the maximum size', async () => {
    const server = await upstream(ok);
    const { url } = await loadBalancer(routes([server]), { limits: { bodyBytes: 1_000 } });
    expect((await reply(url, { body: 'x'.repeat(1_000) })).status).toBe(200);
  });

  it('is rejected while it is read if it exceeds the maximum size without content-length', async () => {
    const server = await upstream(ok);
    const { url } = await loadBalancer(routes([server]), { limits: { bodyBytes: 1_000 } });
    const status = await new Promise<number>((resolve) => {
      const headers = { 'x-api-key': 'me', 'transfer-encoding': 'chunked' };
      const sent = httpRequest(url, { method: 'POST', headers }, (response) => {
        resolve(response.statusCode!);
        sent.destroy();
      });
      sent.on('error', () => {});
      sent.write('x'.repeat(1_001));
    });
    expect(status).toBe(413);
  });

  it('is rejected before the body is sent if it is too large and has Expect: 100-continue', async () => {
    const server = await upstream(ok);
    const { url } = await loadBalancer(routes([server]), { limits: { bodyBytes: 1_000 } });
    const ask = (length: number) =>
      new Promise<string>((resolve) => {
        const headers = { 'x-api-key': 'me', expect: '100-continue', 'content-length': String(length) };
        const sent = httpRequest(url, { method: 'POST', headers, agent: false }, (response) => {
          resolve(String(response.statusCode));
          sent.destroy();
        });
        sent.on('error', () => {});
        sent.on('continue', () => {
          resolve('continue');
          sent.end('x'.repeat(length));
        });
        sent.flushHeaders();
      });
    expect(await ask(1_000)).toBe('continue');
    expect(await ask(1_001)).toBe('413');
  });
});

describe('an upstream', () => {
  it('is skipped if it cannot be reached', async () => {
    const closed = await upstream(ok);
    closed.close();
    const server = await upstream(ok);
    const { url } = await loadBalancer(routes([closed, server]));
    expect((await reply(url)).status).toBe(200);
    expect((await reply(url)).status).toBe(200);
    expect(server.received).toHaveLength(2);
  });

  it('produce 502 when the last one cannot be reached', async () => {
    const closed = await upstream(ok);
    closed.close();
    const { url, events } = await loadBalancer(routes([closed]));
    expect((await reply(url)).status).toBe(502);
    expect(events.map(({ type }) => type)).toContain('error');
  });

  it('produces an incomplete answer if it closes during its answer', async () => {
    const server = await upstream((_, response) => {
      response.write('half');
      setTimeout(() => response.destroy(), 20);
    });
    const { url } = await loadBalancer(routes([server]));
    await expect(reply(url)).rejects.toThrow();
  });

  it('is selected in rotation', async () => {
    const servers = [await upstream(ok), await upstream(ok), await upstream(ok)];
    const { url } = await loadBalancer(routes(servers));
    for (let i = 0; i < 6; i++) await reply(url);
    expect(servers.map(({ received }) => received.length)).toEqual([2, 2, 2]);
  });
});

describe('a client that disconnects', () => {
  it('aborts the request at its upstream', async () => {
    let left = false;
    const server = await upstream((request, response) => {
      response.write('begun');
      request.socket.once('close', () => {
        left = true;
      });
    });
    const { url, events } = await loadBalancer(routes([server]));
    const { body } = await post(url);
    body.on('error', () => {});
    await new Promise((resolve) => body.once('data', resolve));
    body.destroy();
    await until(() => left && events.some(({ type }) => type === 'request_finished'));
  });

  it('interrupts a plugin call of its request', async () => {
    const server = await upstream(ok);
    const looping = { principals: [principal('me', { do: 'loop' })], plugins: [plugin('filter', 'misbehave')] };
    const { url, balancer } = await loadBalancer(routes([server], looping), { engine: { deadlineMs: 60_000 } });
    // Large enough for an off-thread filter call.
    const sent = httpRequest(url, { method: 'POST', headers: { 'x-api-key': 'me' }, agent: false });
    sent.on('error', () => {});
    sent.end(Buffer.alloc(1024 * 1024));
    await until(() => balancer.runtime.stats().inFlight === 1);
    sent.destroy();
    await until(() => balancer.runtime.stats().inFlight === 0);
    expect(server.received).toEqual([]);
  });
});

describe('answers', () => {
  it('are subject to back-pressure from a slow client', async () => {
    const size = 256 * 1024 * 1024;
    let written = 0;
    const server = await upstream(async (_, response) => {
      const chunk = Buffer.alloc(1024 * 1024);
      while (written < size && !response.destroyed) {
        written += chunk.length;
        if (!response.write(chunk)) await Promise.race([once(response, 'drain'), once(response, 'close')]);
      }
    });
    const { url } = await loadBalancer(routes([server]));
    const { body } = await post(url);
    body.on('error', () => {});
    await until(() => written > 0);
    await delay(300);
    expect(written).toBeLessThan(size / 4);
    body.destroy();
  });

  it('keep their content-length, and answers to HEAD their headers', async () => {
    const server = await upstream((request, response) => {
      response.setHeader('content-length', '5');
      response.end(request.method === 'HEAD' ? undefined : 'whole');
    });
    const { url } = await loadBalancer(routes([server]));
    expect((await reply(url)).headers).toMatchObject({ 'content-length': '5' });
    const head = await request(url, { method: 'HEAD', headers: { 'x-api-key': 'me' } });
    expect(head.headers).toMatchObject({ 'content-length': '5' });
  });

  it('are reported to observers as they arrive, with their tokens', async () => {
    const batches = [
      'event: message_start\r\ndata: {"message":{"usage":{"input_tokens":3,"cache_rea',
      'd_input_tokens":7}}}\r\n\r\ndata: {}\n\n',
      'event: message_delta\ndata: {"usage":{"output_tokens":9}}\n\n',
    ];
    const chunksOf = (all: readonly ObserveEvent[]) => all.filter((event) => event.type === 'chunk');
    let reported = () => 0;
    const server = await upstream(async (_, response) => {
      response.writeHead(200, SSE);
      for (const [index, batch] of batches.entries()) {
        response.write(batch);
        await until(() => reported() > index);
      }
      response.end();
    });
    const { url, events } = await loadBalancer(routes([server], { plugins: [plugin('observe', 'lifecycle')] }));
    reported = () => chunksOf(events).length;
    await reply(url, { headers: { 'user-agent': 'tester' } });
    await until(() => events.at(-1)?.type === 'request_finished');
    expect(events.map(({ type }) => type)).toEqual([
      ...['request_started', 'authn_complete', 'upstream_chosen', 'chunk', 'chunk', 'chunk', 'request_finished'],
    ]);
    expect(events[0]).toMatchObject({ downstreamUserAgent: 'tester' });
    const chunks = chunksOf(events);
    expect(chunks.map(({ eventCount }) => eventCount)).toEqual([0, 2, 1]);
    expect(chunks.map(({ totalBytes }) => totalBytes)).toEqual(batches.map((batch) => batch.length));
    const counts = { inputTokens: 3, outputTokens: 9, cacheReadInputTokens: 7, cacheCreationInputTokens: null };
    expect(events.at(-1)).toMatchObject({ status: 200, ...counts });
  });
});

describe('an observer that never returns', () => {
  const endless = { name: 'endless', kind: 'observe', principal: 'bad', deadlineMs: 3_000 } as const;
  const bytes = guestOf({ hooks: ['observe'], hook: misbehavesAfterProbe('(loop (br 0)) unreachable') });
  const principals = [principal('me'), principal('bad')];

  it('delays neither its own request nor others', async () => {
    const server = await upstream(ok);
    const plugins = [{ ...endless, bytes }];
    const { url, balancer } = await loadBalancer(routes([server], { principals, plugins }));
    const headers = { 'user-agent': 'x'.repeat(LONGER_THAN_PROBES) };
    expect((await reply(url, { key: 'bad', headers })).status).toBe(200);
    expect((await reply(url)).status).toBe(200);
    // It still runs, on another thread.
    expect(balancer.runtime.stats().inFlight).toBe(1);
  });
});

describe('transforms', () => {
  const EVENTS = 'event: ping\ndata: {}\n\nevent: delta\ndata: {"x":1}\n\n';
  const withClaims = (claims: Record<string, string>, failurePolicy?: 'fail-closed') => ({
    principals: [principal('me', claims)],
    plugins: [plugin('shape', 'transforms', { failurePolicy })],
  });

  it('change the events of a stream', async () => {
    const server = await upstream((_, response) => response.writeHead(200, SSE).end(EVENTS));
    const { url } = await loadBalancer(routes([server], withClaims({ transform: 'drop', event: 'ping' })));
    expect((await reply(url)).text).toBe('event: delta\ndata: {"x":1}\n\n');
  });

  it('change a complete answer', async () => {
    const server = await upstream((_, response) => response.writeHead(201, JSON_TYPE).end('{"a":"b"}'));
    const { url } = await loadBalancer(routes([server], withClaims({ transform: 'body' })));
    const { status, text, headers } = await reply(url);
    expect({ status, text }).toEqual({ status: 201, text: '{"A":"B"}' });
    expect(headers).toMatchObject({ 'content-length': '9', ...JSON_TYPE });
  });

  it('cannot break the framing of an answer', async () => {
    const server = await upstream((_, response) => response.end('12345678'));
    const { url } = await loadBalancer(routes([server], withClaims({ transform: 'hop-by-hop' })));
    const { text, headers } = await reply(url);
    expect(text).toBe('12345678');
    expect(headers).toMatchObject({ 'content-length': '8', 'x-kept': expect.any(String) });
  });

  it.each([
    ['trap', 'trap'],
    ['status:101', 'not a final one'],
  ])('that fail (%s) follow their failure policy', async (transform, problem) => {
    const server = await upstream((_, response) => response.end('original'));
    const open = await loadBalancer(routes([server], withClaims({ transform })));
    expect(await reply(open.url)).toMatchObject({ status: 200, text: 'original' });
    expect(open.log.map(({ error }) => error)).toEqual([expect.any(ResponseTransformError)]);
    expect(String(open.log[0]!.error)).toContain(problem);
    const closed = await loadBalancer(routes([server], withClaims({ transform }, 'fail-closed')));
    expect((await reply(closed.url)).status).toBe(503);
  });

  it('fail for an answer that is compressed without a request for it', async () => {
    const encoded = { 'content-encoding': 'x-unknown' };
    const server = await upstream((_, response) => response.writeHead(200, encoded).end('bytes'));
    const open = await loadBalancer(routes([server], withClaims({ transform: 'body' })));
    expect(await reply(open.url)).toMatchObject({ status: 200, text: 'bytes', headers: encoded });
    const closed = await loadBalancer(routes([server], withClaims({ transform: 'body' }, 'fail-closed')));
    expect((await reply(closed.url)).status).toBe(503);
  });

  it('fail for a stream that is compressed without a request for it, before a byte is sent', async () => {
    const encoded = { ...SSE, 'content-encoding': 'x-unknown' };
    const server = await upstream((_, response) => response.writeHead(200, encoded).end('bytes'));
    const claims = { transform: 'drop', event: 'ping' };
    const open = await loadBalancer(routes([server], withClaims(claims)));
    expect(await reply(open.url)).toMatchObject({ status: 200, text: 'bytes', headers: encoded });
    expect(open.log.map(({ error }) => error)).toEqual([expect.any(ResponseTransformError)]);
    const closed = await loadBalancer(routes([server], withClaims(claims, 'fail-closed')));
    expect((await reply(closed.url)).status).toBe(503);
  });

  it('that make a stream unavailable end it at its upstream', async () => {
    let left = false;
    const server = await upstream(async (request, response) => {
      request.socket.once('close', () => (left = true));
      response.writeHead(200, { ...SSE, 'content-encoding': 'x-unknown' });
      response.write('begun');
    });
    const claims = { transform: 'drop', event: 'ping' };
    const { url } = await loadBalancer(routes([server], withClaims(claims, 'fail-closed')));
    expect((await reply(url)).status).toBe(503);
    await until(() => left);
  });
});

function once(emitter: NodeJS.EventEmitter, event: string): Promise<void> {
  return new Promise((resolve) => emitter.once(event, () => resolve()));
}
