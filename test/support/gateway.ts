/** A gateway of node:http alone, as the guide writes one, and a client that reads every byte of its answers. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { onTestFinished } from 'vitest';
import { outcomeToHttp, type PluginChain, type Principal, towardsClient } from '../../src/index.ts';

/** A request that an upstream received. */
export interface ReceivedMessage {
  readonly method: string | undefined;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

async function listen(server: Server): Promise<string> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Starts an upstream that records every message of its connections, in the order in which they begin. */
export async function recordingUpstream(
  answer: (request: IncomingMessage, response: ServerResponse) => void = (_, response) => response.end('ok'),
) {
  const messages: Promise<ReceivedMessage | string>[] = [];
  const server = createServer((incoming, response) => {
    const { method, headers } = incoming;
    messages.push(
      buffer(incoming).then((body) => {
        answer(incoming, response);
        return { method, headers, body: body.toString() };
      }),
    );
  });
  for (const event of ['upgrade', 'connect'] as const) {
    server.on(event, (_incoming, socket) => {
      messages.push(Promise.resolve(event));
      socket.destroy();
    });
  }
  server.on('clientError', (error, socket) => {
    messages.push(Promise.resolve(error.message));
    socket.destroy();
  });
  const url = await listen(server);
  return { url, take: () => Promise.all(messages.splice(0)) };
}

/** Starts a gateway that forwards every request through the chain, with the client's claims from `claims`. */
export async function gateway(chain: PluginChain, baseUrl: string, claims: Principal['claims'] = {}): Promise<string> {
  const upstream = { kind: 'anthropic_direct', baseUrl } as const;
  const principal: Principal = { id: 'principal-1', kind: 'api_key', claims };
  async function forward(incoming: IncomingMessage, response: ServerResponse) {
    const { method = 'GET', url: path = '/', headers } = incoming;
    const context = { requestId: 'req-1', method, path, headers, body: await buffer(incoming) };
    const shaped = await chain.shapeAsync(context, upstream, principal);
    if (shaped.kind === 'unavailable') {
      const { status, headers, body } = outcomeToHttp(shaped);
      response.writeHead(status, headers).end(body);
      return;
    }
    const outgoing = request(shaped.request.url, { method: shaped.request.method });
    for (const [name, value] of shaped.request.headers) outgoing.appendHeader(name, value);
    outgoing.end(shaped.request.body);
    const [answer] = (await once(outgoing, 'response')) as [IncomingMessage];
    const input = {
      requestId: 'req-1',
      principal,
      upstream,
      requestMethod: shaped.request.method,
      requestPath: shaped.request.url.pathname,
      canonicalModelId: 'model-1',
      status: answer.statusCode!,
      headers: answer.headers,
      body: await buffer(answer),
    };
    const transformed = await chain.transformResponseAsync(input);
    if (transformed.kind === 'unavailable') {
      const { status, headers, body } = outcomeToHttp(transformed);
      response.writeHead(status, headers).end(body);
      return;
    }
    const sent =
      transformed.kind === 'transformed'
        ? transformed
        : { ...input, headers: towardsClient(input.headers, { replacedBody: false }) };
    response.writeHead(sent.status, sent.headers.flat()).end(sent.body);
  }
  const server = createServer((incoming, response) => {
    forward(incoming, response).catch(() => response.writeHead(502).end());
  });
  return listen(server);
}

/** The bytes of a request to `/v1/messages` with these lines of headers. */
export function rawRequest(method: string, headers: readonly string[], body: string | Uint8Array): Buffer {
  const head = [`${method} /v1/messages HTTP/1.1`, 'host: lb', ...headers].join('\r\n');
  return Buffer.concat([Buffer.from(`${head}\r\n\r\n`), Buffer.from(body)]);
}

/** The bytes of a POST that is the only request of its connection. */
export function rawPost(body: string | Uint8Array, headers: readonly string[] = []): Buffer {
  return rawRequest('POST', [...headers, 'connection: close', `content-length: ${body.length}`], body);
}

/** Writes the bytes to a new connection; returns what the server writes until it closes the connection. */
export async function rawExchange(url: string, bytes: string | Uint8Array): Promise<string> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on('error', () => {});
  const received: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => received.push(chunk));
  socket.write(bytes);
  await once(socket, 'close');
  return Buffer.concat(received).toString('latin1');
}

/** A response that a client reads by its framing, and the bytes that follow it. */
export interface ReadResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly rest: string;
}

/** Reads one response as a client does (RFC 9112, 6.3). Throws if it is incomplete or its framing is ambiguous. */
export function readResponse(bytes: string, method = 'POST'): ReadResponse {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0) throw new Error(`no complete head: ${JSON.stringify(bytes)}`);
  const [start = '', ...lines] = bytes.slice(0, end).split('\r\n');
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const [, name = '', value = ''] = /^([^:]+):[ \t]*(.*)$/.exec(line)!;
    const lower = name.toLowerCase();
    headers[lower] = lower in headers ? `${headers[lower]}, ${value}` : value;
  }
  const status = Number(start.split(' ')[1]);
  const after = bytes.slice(end + 4);
  const { 'content-length': length, 'transfer-encoding': encoding } = headers;
  if (method === 'HEAD' || status === 204 || status === 304) return { status, headers, body: '', rest: after };
  if (length !== undefined && encoding !== undefined) throw new Error('both content-length and transfer-encoding');
  if (encoding === undefined) {
    if (!/^\d+$/.test(length ?? '')) throw new Error(`no valid content-length: ${length}`);
    return { status, headers, body: after.slice(0, Number(length)), rest: after.slice(Number(length)) };
  }
  if (encoding !== 'chunked') throw new Error(`transfer-encoding ${encoding}`);
  let body = '';
  for (let at = 0; ; ) {
    const line = after.indexOf('\r\n', at);
    const size = Number.parseInt(after.slice(at, line), 16);
    if (line < 0 || Number.isNaN(size)) throw new Error('not chunked');
    if (size === 0) return { status, headers, body, rest: after.slice(line + 4) };
    body += after.slice(line + 2, line + 2 + size);
    at = line + 2 + size + 2;
  }
}
