import { describe, expect, it } from 'vitest';
import { shapeResponse } from '../../src/wire/messages/shape.ts';
import { encodeToBytes } from '../support/encode.ts';
import { rawExchange, rawPost, rawRequest, readResponse, recordingUpstream } from '../support/gateway.ts';
import { LONGER_THAN_PROBES } from '../support/guest.ts';
import { SMUGGLED_REQUEST, SMUGGLED_RESPONSE, SMUGGLING_HEADERS, transformingGuest } from '../support/smuggling.ts';
import { loadBalancer, plugin, principal, routes } from './support.ts';

const KEY = ['x-api-key: me'];

describe('the load balancer', () => {
  it.each(SMUGGLING_HEADERS)('sends the request of a shape with the headers %j as one message', async (...headers) => {
    const upstream = await recordingUpstream();
    const plugins = [plugin('shape', 'puppet')];
    const served = routes([upstream], { plugins, principals: [principal('me', { puppet: true })] });
    const { url } = await loadBalancer(served);
    for (const method of ['GET', 'DELETE', 'OPTIONS', 'POST', 'PUT', 'PATCH']) {
      const answer = { url: `${upstream.url}/v1`, method, headers, body: Buffer.from(SMUGGLED_REQUEST) };
      const bytes = await rawExchange(url, rawPost(encodeToBytes(shapeResponse, answer), KEY));
      expect(readResponse(bytes), method).toMatchObject({ status: 200, rest: '' });
      expect(await upstream.take(), method).toMatchObject([{ method, body: SMUGGLED_REQUEST }]);
    }
  });

  it.each(['CONNECT', 'TRACE', 'HEAD'])('does not send the request of a shape with the method %s', async (method) => {
    const upstream = await recordingUpstream();
    const plugins = [plugin('shape', 'puppet')];
    const served = routes([upstream], { plugins, principals: [principal('me', { puppet: true })] });
    const { url } = await loadBalancer(served);
    const answer = { url: upstream.url, method, headers: [], body: Buffer.from(SMUGGLED_REQUEST) };
    const original = encodeToBytes(shapeResponse, answer);
    const bytes = await rawExchange(url, rawPost(original, KEY));
    expect(readResponse(bytes)).toMatchObject({ status: 200, rest: '' });
    expect(await upstream.take()).toMatchObject([{ method: 'POST', body: Buffer.from(original).toString() }]);
  });

  it.each(['GET', 'HEAD', 'DELETE', 'OPTIONS', 'POST'])(
    'sends the body of a client with the method %s as one message',
    async (method) => {
      const upstream = await recordingUpstream();
      const { url } = await loadBalancer(routes([upstream]));
      const length = `content-length: ${SMUGGLED_REQUEST.length}`;
      const chunks = `${SMUGGLED_REQUEST.length.toString(16)}\r\n${SMUGGLED_REQUEST}\r\n0\r\nx-after: 0\r\n\r\n`;
      for (const [headers, body] of [
        [[length], SMUGGLED_REQUEST],
        [['transfer-encoding: chunked', 'trailer: x-after'], chunks],
        [[length, 'expect: 100-continue'], SMUGGLED_REQUEST],
      ] as const) {
        const lines = ['connection: close, x-hop, content-length', 'x-hop: 1', 'te: trailers', ...headers];
        const bytes = await rawExchange(url, rawRequest(method, [...KEY, ...lines], body));
        expect(readResponse(bytes.replace('HTTP/1.1 100 Continue\r\n\r\n', ''), method)).toMatchObject({ rest: '' });
        expect(await upstream.take()).toMatchObject([{ method, body: SMUGGLED_REQUEST }]);
      }
    },
  );

  it.each(SMUGGLING_HEADERS)(
    'sends the answer of a transform with the headers %j as one message',
    async (...headers) => {
      const body = `ok${SMUGGLED_RESPONSE}`;
      const upstream = await recordingUpstream();
      const principals = [principal('me', { pad: 'x'.repeat(LONGER_THAN_PROBES) })];
      for (const status of [200, 204, 205, 304]) {
        const bytes = transformingGuest({ kind: 'replace', status, headers, body: Buffer.from(body) });
        const { url } = await loadBalancer(
          routes([upstream], { principals, plugins: [{ kind: 'shape', name: 'transforms', bytes }] }),
        );
        for (const method of ['GET', 'HEAD', 'DELETE', 'POST']) {
          const lines = ['connection: close', 'content-length: 0'];
          const response = readResponse(await rawExchange(url, rawRequest(method, [...KEY, ...lines], '')), method);
          // The load balancer transforms no answer to HEAD.
          const sent = method === 'HEAD' ? 200 : status;
          const isEmpty = method === 'HEAD' || status === 204 || status === 304;
          const expected = { status: sent, body: isEmpty ? '' : body, rest: '' };
          expect(response, `${method} ${status}`).toMatchObject(expected);
        }
      }
    },
  );
});
