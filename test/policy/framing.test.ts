import { describe, expect, it } from 'vitest';
import { framedResponse, towardsUpstream } from '../../src/policy/framing.ts';

describe('towardsUpstream', () => {
  const url = new URL('https://up.test');
  const body = Buffer.from('body');
  const headersFor = (method: string, sent: Uint8Array = body, headers: [string, string][] = []) =>
    towardsUpstream({ url, method, headers, body: sent }).headers;

  it.each(['GET', 'get', 'HEAD', 'DELETE', 'Delete', 'OPTIONS', 'TRACE', 'CONNECT'])(
    'states the length of a body of %s, and of no empty one',
    (method) => {
      expect(headersFor(method)).toEqual([['content-length', '4']]);
      expect(headersFor(method, Buffer.alloc(0))).toEqual([]);
    },
  );

  it.each(['POST', 'PUT', 'PATCH', 'REPORT'])('leaves the length of a body of %s to the HTTP client', (method) => {
    expect(headersFor(method)).toEqual([]);
  });

  it('drops the headers of one connection, of framing, and expect, in any case', () => {
    const dropped = ['connection', 'Keep-Alive', 'TE', 'trailer', 'Transfer-Encoding', 'upgrade', 'Expect'];
    const more = ['content-length', 'Content-Length', 'proxy-connection', 'proxy-authenticate', 'Proxy-Authorization'];
    const headers = [...dropped, ...more, 'x-kept', 'host'].map((name): [string, string] => [name, '1']);
    const kept = [
      ['x-kept', '1'],
      ['host', '1'],
    ];
    expect(headersFor('POST', body, headers)).toEqual(kept);
    expect(headersFor('GET', body, headers)).toEqual([...kept, ['content-length', '4']]);
  });

  it.each([
    ['request', undefined],
    ['request', 'GET /'],
    ['request.method', { url, headers: [], body }],
    ['request.headers', { url, method: 'GET', headers: { expect: 'x' }, body }],
    ['request.body', { url, method: 'GET', headers: [], body: 'text' }],
  ])('reports an invalid %s', (path, request) => {
    expect(() => towardsUpstream(request as never)).toThrow(
      expect.objectContaining({ code: 'CC_LB_INVALID_ARGUMENT', path }),
    );
  });

  it('returns a request itself that needs no change', () => {
    const request = { url, method: 'POST', headers: [['x-expect', '1']] as [string, string][], body };
    expect(towardsUpstream(request)).toBe(request);
  });

  it('keeps the rest of the request and does not change its argument', () => {
    const request = { url, method: 'get', headers: [['expect', 'x']] as [string, string][], body };
    const sent = towardsUpstream(request);
    expect(sent).toEqual({ url, method: 'get', headers: [['content-length', '4']], body });
    expect(sent.url).toBe(url);
    expect(sent.body).toBe(body);
    expect(request.headers).toEqual([['expect', 'x']]);
  });
});

describe('framedResponse', () => {
  const body = Buffer.from('body');
  const headers = { 'content-length': '99', connection: 'X-Hop', 'x-hop': '1', 'transfer-encoding': 'chunked', a: '1' };

  it('states the length of the body instead of the framing and the connection of the original', () => {
    expect(framedResponse('POST', { status: 200, headers, body })).toEqual({
      headers: [
        ['a', '1'],
        ['content-length', '4'],
      ],
      body,
    });
    expect(framedResponse('GET', { status: 404, headers: [], body: Buffer.alloc(0) }).headers).toEqual([
      ['content-length', '0'],
    ]);
  });

  it.each([
    ['HEAD', 200],
    ['head', 404],
    ['GET', 204],
    ['GET', 304],
  ])('has no body and no content-length as the answer to %s with status %i', (method, status) => {
    const framed = framedResponse(method, { status, headers, body });
    expect(framed).toEqual({ headers: [['a', '1']], body: new Uint8Array() });
  });
});
