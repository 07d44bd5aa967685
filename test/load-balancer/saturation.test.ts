import { request as httpRequest } from 'node:http';
import { PoolSaturatedError } from 'cc-lb-runtime-wasmtime';
import { describe, expect, it } from 'vitest';
import { shapeResponse } from '../../src/wire/messages/shape.ts';
import { encodeToBytes } from '../support/encode.ts';
import { loadBalancer, ok, plugin, post, principal, reply, routes, until, upstream } from './support.ts';

describe('saturation', () => {
  it('produces 503 with Retry-After if plugin calls are saturated under fail-closed', async () => {
    const server = await upstream(ok);
    const spinning = {
      // Of two principals, because calls of one wait for each other.
      principals: [principal('me', { do: 'loop' }), principal('you', { do: 'loop' })],
      plugins: [plugin('filter', 'misbehave', { failurePolicy: 'fail-closed' })],
    };
    const engine = { poolTotalCoreInstances: 1, deadlineMs: 60_000 };
    const { url, log, balancer } = await loadBalancer(routes([server], spinning), { engine });
    const body = Buffer.alloc(1024 * 1024);
    const first = httpRequest(url, { method: 'POST', headers: { 'x-api-key': 'me' }, agent: false });
    first.on('error', () => {});
    first.end(body);
    await until(() => balancer.runtime.stats().inFlight === 1);
    const second = await reply(url, { key: 'you', body });
    expect(second).toMatchObject({ status: 503, headers: { 'retry-after': '1' } });
    first.destroy();
    await until(() => balancer.runtime.stats().inFlight === 0);
    expect((log[0]!.error as Error).cause).toBeInstanceOf(PoolSaturatedError);
  });

  it('produces 503 with Retry-After while the bodies of requests are too large in total', async () => {
    const server = await upstream((_, response, body) => body.startsWith('small') && response.end('ok'));
    const served = routes([server], { principals: [principal('me'), principal('other')] });
    const { url, balancer } = await loadBalancer(served, { limits: { bufferedBytes: 1_000 } });
    const first = httpRequest(url, { method: 'POST', headers: { 'x-api-key': 'me' }, agent: false });
    first.on('error', () => {});
    first.end('x'.repeat(800));
    await until(() => server.received.length === 1);
    const body = `small${'x'.repeat(795)}`;
    expect(await reply(url, { body, key: 'other' })).toMatchObject({ status: 503, headers: { 'retry-after': '1' } });
    expect((await reply(url, { body: 'small', key: 'other' })).status).toBe(200);
    // A principal that holds more than is unused acquires nothing.
    expect((await reply(url, { body: 'small' })).status).toBe(503);
    first.destroy();
    await until(() => balancer.requestsInFlight === 0);
    for (let i = 0; i < 3; i++) expect((await reply(url, { body })).status).toBe(200);
  });

  it('produces 503 with Retry-After if an answer is too large to be buffered for a transform', async () => {
    const server = await upstream((_, response) => response.end('x'.repeat(1_001)));
    const limits = { bufferedBytes: 1_000 };
    const served = { principals: [principal('me', { transform: 'body' })], plugins: [plugin('shape', 'transforms')] };
    const { url } = await loadBalancer(routes([server], served), { limits });
    expect(await reply(url, { body: '' })).toMatchObject({ status: 503, headers: { 'retry-after': '1' } });
    const plain = await loadBalancer(routes([server]), { limits });
    expect((await reply(plain.url, { body: '' })).status).toBe(200);
  });

  it('produces 503 with Retry-After if a transform writes a body that is too large to be buffered', async () => {
    const server = await upstream(ok);
    const claims = { transform: 'large-body:2000' };
    const served = { principals: [principal('me', claims)], plugins: [plugin('shape', 'transforms')] };
    const { url } = await loadBalancer(routes([server], served), { limits: { bufferedBytes: 1_000 } });
    expect(await reply(url, { body: '' })).toMatchObject({ status: 503, headers: { 'retry-after': '1' } });
    const larger = await loadBalancer(routes([server], served), { limits: { bufferedBytes: 4_000 } });
    expect(await reply(larger.url, { body: '' })).toMatchObject({ status: 200, text: 'b'.repeat(2_000) });
  });

  it('ends a stream if a transform writes an event that is too large to be buffered', async () => {
    const server = await upstream((_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).end('data: 1\n\n');
    });
    const claims = { transform: 'large:2000000' };
    const served = { principals: [principal('me', claims)], plugins: [plugin('shape', 'transforms')] };
    const { url, balancer } = await loadBalancer(routes([server], served), { limits: { bufferedBytes: 1_000_000 } });
    await expect(reply(url)).rejects.toThrow();
    const larger = await loadBalancer(routes([server], served), { limits: { bufferedBytes: 3_000_000 } });
    expect((await reply(larger.url)).text).toContain('d'.repeat(2_000_000));
    await until(() => balancer.requestsInFlight === 0);
  });

  it('ends a stream if the events that a transform writes for a client that does not read are too large in total', async () => {
    const server = await upstream((_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const timer = setInterval(() => response.write('data: 1\n\n'), 50);
      response.on('close', () => clearInterval(timer));
    });
    const claims = { transform: 'large:12000000' };
    const served = { principals: [principal('me', claims)], plugins: [plugin('shape', 'transforms')] };
    const { url, balancer } = await loadBalancer(routes([server], served), { limits: { bufferedBytes: 30_000_000 } });
    const { body } = await post(url);
    body.on('error', () => {});
    await until(() => balancer.requestsInFlight === 0);
  });

  it('limits the answers of plugins to the bytes of a body and 1 MiB, unless the config of the engine has a limit', async () => {
    const server = await upstream(ok);
    const claims = { transform: 'large-body:1100000' };
    const served = { principals: [principal('me', claims)], plugins: [plugin('shape', 'transforms')] };
    const limits = { bodyBytes: 10_000 };
    const { url, log } = await loadBalancer(routes([server], served), { limits });
    expect((await reply(url)).text).toBe('ok');
    expect(String(log[0]?.error)).toMatch(/outputBodyBytes \(1058576\)/);
    const engine = { wireBounds: { outputBodyBytes: 2_000_000 } };
    const larger = await loadBalancer(routes([server], served), { limits, engine });
    expect((await reply(larger.url)).text).toHaveLength(1_100_000);
  });

  it('produces 503 with Retry-After if a shape writes headers that are too large to be buffered', async () => {
    const server = await upstream(ok);
    const served = { principals: [principal('me', { puppet: true })], plugins: [plugin('shape', 'puppet')] };
    const { url, balancer } = await loadBalancer(routes([server], served), { limits: { bufferedBytes: 20_000 } });
    const shaped = (bytes: number) => {
      const answer = {
        url: server.url,
        method: 'POST',
        headers: ['x-large', 'v'.repeat(bytes)],
        body: Buffer.alloc(0),
      };
      return reply(url, { body: Buffer.from(encodeToBytes(shapeResponse, answer)) });
    };
    expect((await shaped(2_000)).status).toBe(200);
    await until(() => balancer.requestsInFlight === 0);
    expect(await shaped(8_000)).toMatchObject({ status: 503, headers: { 'retry-after': '1' } });
  });

  it('produces 503 with Retry-After if a shape writes a body that is too large to be buffered', async () => {
    const server = await upstream(ok);
    const served = { principals: [principal('me', { puppet: true })], plugins: [plugin('shape', 'puppet')] };
    const { url, balancer } = await loadBalancer(routes([server], served), { limits: { bufferedBytes: 10_000 } });
    const shaped = (bytes: number) => {
      const answer = { url: server.url, method: 'POST', headers: [], body: Buffer.alloc(bytes) };
      return reply(url, { body: Buffer.from(encodeToBytes(shapeResponse, answer)) });
    };
    expect((await shaped(3_000)).status).toBe(200);
    await until(() => balancer.requestsInFlight === 0);
    expect(await shaped(5_000)).toMatchObject({ status: 503, headers: { 'retry-after': '1' } });
    await until(() => balancer.requestsInFlight === 0);
    expect((await shaped(3_000)).status).toBe(200);
  });

  it('admits a principal while the requests of another one wait', async () => {
    const server = await upstream(({ headers }, response) => headers['x-waits'] === undefined && response.end('ok'));
    const served = routes([server], { principals: [principal('me'), principal('busy')] });
    const { url } = await loadBalancer(served, { limits: { requests: 4 } });
    const waiting = { key: 'busy', headers: { 'x-waits': '1' } };
    for (let i = 1; i <= 2; i++) {
      post(url, waiting).catch(() => {});
      await until(() => server.received.length === i);
    }
    expect(await reply(url, waiting)).toMatchObject({ status: 503, headers: { 'retry-after': '1' } });
    expect((await reply(url)).status).toBe(200);
  });

  it('produces 503 with Retry-After if the load balancer is saturated', async () => {
    let answer = () => {};
    const server = await upstream((_, response) => {
      answer = () => response.end('ok');
    });
    const { url } = await loadBalancer(routes([server]), { limits: { requests: 1 } });
    const first = reply(url);
    await until(() => server.received.length === 1);
    expect(await reply(url)).toMatchObject({ status: 503, headers: { 'retry-after': '1' } });
    answer();
    expect((await first).status).toBe(200);
  });
});
