/** What the bodies and headers of plugins, clients and upstreams do to the framing of messages, over real connections. */
import { describe, expect, it } from 'vitest';
import { PluginChain, SlotKey, WasmtimeUpstreamDialect } from '../src/index.ts';
import { shapeResponse } from '../src/wire/messages/shape.ts';
import { encodeToBytes } from './support/encode.ts';
import { gateway, rawExchange, rawPost, rawRequest, readResponse, recordingUpstream } from './support/gateway.ts';
import { LONGER_THAN_PROBES } from './support/guest.ts';
import { plugin } from './support/plugins.ts';
import { newRuntime } from './support/runtimes.ts';
import { SMUGGLED_REQUEST, SMUGGLED_RESPONSE, SMUGGLING_HEADERS, transformingGuest } from './support/smuggling.ts';

const METHODS = ['GET', 'get', 'DELETE', 'OPTIONS', 'POST', 'PUT', 'PATCH'];
/** Makes the requests of plugins longer than those of probes. */
const LONG = { pad: 'x'.repeat(LONGER_THAN_PROBES) };
const CLIENT_METHODS = ['GET', 'HEAD', 'DELETE', 'OPTIONS', 'POST'];

function chainOf(name: string, bytes: Uint8Array): PluginChain {
  const runtime = newRuntime({ shapeOriginPolicy: 'selected-upstream-origin' });
  const slot = runtime.registerShape(new SlotKey('tenant', name), name, bytes);
  return new PluginChain({ shape: new WasmtimeUpstreamDialect(runtime, slot) });
}

describe('a request', () => {
  it.each(SMUGGLING_HEADERS)('of a shape with the headers %j is one message at the upstream', async (...headers) => {
    const upstream = await recordingUpstream();
    const url = await gateway(chainOf('puppet', plugin('puppet')), upstream.url, { puppet: true });
    for (const method of METHODS) {
      const answer = { url: `${upstream.url}/v1`, method, headers, body: Buffer.from(SMUGGLED_REQUEST) };
      const bytes = await rawExchange(url, rawPost(encodeToBytes(shapeResponse, answer)));
      expect(readResponse(bytes)).toMatchObject({ status: 200, rest: '' });
      const expected = { method: method.toUpperCase(), body: SMUGGLED_REQUEST };
      expect(await upstream.take(), method).toMatchObject([expected]);
    }
  });

  it.each(['CONNECT', 'connect', 'TRACE', 'Track', 'HEAD'])(
    'of a shape with the method %s is not sent',
    async (method) => {
      const upstream = await recordingUpstream();
      const url = await gateway(chainOf('puppet', plugin('puppet')), upstream.url, { puppet: true });
      const answer = { url: upstream.url, method, headers: [], body: Buffer.from(SMUGGLED_REQUEST) };
      const original = encodeToBytes(shapeResponse, answer);
      const bytes = await rawExchange(url, rawPost(original));
      expect(readResponse(bytes)).toMatchObject({ status: 200, rest: '' });
      // The failed shape passes the original through.
      expect(await upstream.take()).toMatchObject([{ method: 'POST', body: Buffer.from(original).toString() }]);
    },
  );

  it.each(['x-a: 1\r\n content-length: 0', 'x-a: 1\r\nContent-Length: 0', 'x-a: 1\ncontent-length: 0'])(
    'of a shape with the header line %j is not sent',
    async (line) => {
      const upstream = await recordingUpstream();
      const url = await gateway(chainOf('puppet', plugin('puppet')), upstream.url, { puppet: true });
      const [name, ...rest] = line.split(': ');
      for (const headers of [
        [name!, rest.join(': ')],
        [line, ''],
      ]) {
        const answer = { url: upstream.url, method: 'PUT', headers, body: Buffer.from(SMUGGLED_REQUEST) };
        const original = encodeToBytes(shapeResponse, answer);
        await rawExchange(url, rawPost(original));
        // The failed shape passes the original through.
        expect(await upstream.take()).toMatchObject([{ method: 'POST', body: Buffer.from(original).toString() }]);
      }
    },
  );

  it.each(CLIENT_METHODS)('of a client with a body and the method %s passes through as one message', async (method) => {
    const upstream = await recordingUpstream();
    const url = await gateway(new PluginChain({}), upstream.url);
    const chunk = `${SMUGGLED_REQUEST.length.toString(16)}\r\n${SMUGGLED_REQUEST}\r\n`;
    for (const [headers, body] of [
      [[`Content-Length: ${SMUGGLED_REQUEST.length}`], SMUGGLED_REQUEST],
      [['transfer-encoding: chunked', 'trailer: x-after'], `${chunk}0\r\nx-after: 0\r\n\r\n`],
      [[`content-length: ${SMUGGLED_REQUEST.length}`, 'expect: 100-continue'], SMUGGLED_REQUEST],
    ] as const) {
      const lines = [
        'connection: close, x-hop, content-length',
        'x-hop: 1',
        'te: trailers',
        'keep-alive: 1',
        ...headers,
      ];
      const bytes = await rawExchange(url, rawRequest(method, [...lines, 'proxy-connection: close'], body));
      expect(readResponse(bytes.replace('HTTP/1.1 100 Continue\r\n\r\n', ''), method)).toMatchObject({ rest: '' });
      const [message, ...others] = await upstream.take();
      expect(others).toEqual([]);
      expect(message).toMatchObject({ method, body: SMUGGLED_REQUEST });
      for (const name of ['x-hop', 'te', 'trailer', 'keep-alive', 'proxy-connection', 'expect']) {
        expect(message).not.toHaveProperty(['headers', name]);
      }
    }
  });

  it.each([
    ['two lengths', ['content-length: 0', `content-length: ${SMUGGLED_REQUEST.length}`]],
    ['a length and an encoding', [`content-length: ${SMUGGLED_REQUEST.length}`, 'transfer-encoding: chunked']],
    ['a length on a continued line', ['x-a: 1', ' content-length: 0']],
    ['a space after the name of the length', ['content-length : 0']],
    ['an unknown encoding', ['Transfer-Encoding: xchunked']],
    ['an upgrade', ['connection: upgrade', 'upgrade: h2c', `content-length: ${SMUGGLED_REQUEST.length}`]],
  ])('of a client with %s is at most one message at the upstream', async (_, headers) => {
    const upstream = await recordingUpstream();
    const url = await gateway(new PluginChain({}), upstream.url);
    for (const method of ['GET', 'POST']) {
      const bytes = await rawExchange(url, rawRequest(method, ['connection: close', ...headers], SMUGGLED_REQUEST));
      expect(bytes.match(/HTTP\/1\.1 /g)?.length ?? 0).toBeLessThanOrEqual(1);
      const messages = await upstream.take();
      expect(messages.length).toBeLessThanOrEqual(1);
      for (const message of messages) expect(message).toMatchObject({ body: SMUGGLED_REQUEST });
    }
  });
});

describe('a response', () => {
  const BODY = `ok${SMUGGLED_RESPONSE}`;

  it.each(SMUGGLING_HEADERS)('of a transform with the headers %j is one message at the client', async (...headers) => {
    for (const status of [200, 204, 205, 304, 404]) {
      const upstream = await recordingUpstream();
      const answer = { kind: 'replace' as const, status, headers, body: Buffer.from(BODY) };
      const url = await gateway(chainOf('transforms', transformingGuest(answer)), upstream.url, LONG);
      for (const method of CLIENT_METHODS) {
        const lines = ['connection: close', 'content-length: 0'];
        const response = readResponse(await rawExchange(url, rawRequest(method, lines, '')), method);
        const isEmpty = method === 'HEAD' || status === 204 || status === 304;
        expect(response, `${method} ${status}`).toMatchObject({ status, body: isEmpty ? '' : BODY, rest: '' });
        expect(response.headers).not.toHaveProperty('upgrade');
      }
    }
  });

  it('of an upstream keeps its framing consistent if only its status, headers or body are replaced', async () => {
    const upstream = await recordingUpstream((_, response) => {
      response.writeHead(200, { connection: 'x-hop', 'x-hop': '1', trailer: 'x-after' });
      response.write('original ');
      response.end('chunks');
    });
    for (const [parts, body] of [
      [{ status: 201, headers: null, body: null }, 'original chunks'],
      [{ status: null, headers: ['x-a', '1'], body: null }, 'original chunks'],
      [{ status: null, headers: null, body: Buffer.from(BODY) }, BODY],
      [{ status: null, headers: null, body: Buffer.from('') }, ''],
    ] as const) {
      const chain = chainOf('transforms', transformingGuest({ kind: 'replace', ...parts }));
      const url = await gateway(chain, upstream.url, LONG);
      const response = readResponse(await rawExchange(url, rawRequest('GET', ['connection: close'], '')), 'GET');
      expect(response).toMatchObject({ body, rest: '', headers: { 'content-length': String(body.length) } });
      expect(response.headers).not.toHaveProperty('x-hop');
    }
  });
});
