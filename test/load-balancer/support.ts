/** Creates load balancers and upstreams on loopback addresses, which are closed when the test ends. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createRawServer, type Socket } from 'node:net';
import type { ObserveEvent } from 'cc-lb-runtime-wasmtime';
import { Agent, request } from 'undici';
import { onTestFinished } from 'vitest';
import { listening } from '../../examples/load-balancer/listening.ts';
import { LoadBalancer } from '../../examples/load-balancer/load-balancer.ts';
import type { LoadBalancerOptions } from '../../examples/load-balancer/options.ts';
import type { LogEntry } from '../../examples/load-balancer/record.ts';
import type { PluginRoute, PrincipalRoute, Routes } from '../../examples/load-balancer/routes.ts';
import { plugin as guest } from '../support/plugins.ts';

/** Returns a plugin for all principals, named after its guest. */
export function plugin(kind: PluginRoute['kind'], name: string, rest: Partial<PluginRoute> = {}): PluginRoute {
  return { kind, name, bytes: guest(name), ...rest };
}

/** Returns a principal whose key is its id. */
export function principal(id: string, claims: PrincipalRoute['claims'] = {}): PrincipalRoute {
  return { id, kind: 'api_key', claims, keySha256: createHash('sha256').update(id).digest('hex') };
}

type Handler = (request: IncomingMessage, response: ServerResponse, body: string) => unknown;

/** A request that an upstream received, with its body. */
export interface Received {
  readonly request: IncomingMessage;
  readonly body: string;
}

/** Creates a server that calls `handler` after reading the body. */
export async function upstream(handler: Handler): Promise<{ url: string; received: Received[]; close(): void }> {
  const received: Received[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of request) chunks.push(chunk);
    } catch {
      return;
    }
    const body = Buffer.concat(chunks).toString();
    received.push({ request, body });
    await handler(request, response, body);
  });
  const url = await listening(server);
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  onTestFinished(close);
  return { url, received, close };
}

/** Returns routes with these upstreams, for principal `me` by default. */
export function routes(upstreams: readonly { url: string }[], rest: Partial<Routes> = {}): Routes {
  return {
    upstreams: upstreams.map(({ url }, i) => ({
      id: `00000000-0000-4000-8000-00000000000${i}`,
      name: `upstream-${i}`,
      baseUrl: url,
    })),
    principals: [principal('me')],
    plugins: [],
    ...rest,
  };
}

/** Creates a load balancer that serves `routes`, and records its logs and the events of its observers. */
export async function loadBalancer(served: Routes, options: LoadBalancerOptions = {}) {
  const log: LogEntry[] = [];
  const events: ObserveEvent[] = [];
  const observe = (event: ObserveEvent) => void events.push(event);
  const observer = { observe, observeAsync: async (event: ObserveEvent) => observe(event) };
  const balancer = new LoadBalancer({ observers: [observer], log: (entry) => log.push(entry), ...options });
  onTestFinished(() => balancer.close({ graceMs: 0 }));
  await balancer.publish(served);
  return { balancer, url: await balancer.listen(), log, events };
}

/** Resolves when `condition` is true; the time limit of the test ends the wait. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
}

/** Like `until`, for an asynchronous condition. */
export async function untilAsync(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** Posts a request. Each call uses its own connection, so that no test uses one that another test closed. */
export function post(
  url: string,
  options: { key?: string; path?: string; headers?: object; body?: string | Buffer } = {},
) {
  const { key = 'me', path = '/v1/messages', headers = {}, body = '{"messages":[]}' } = options;
  const dispatcher = new Agent({ pipelining: 0 });
  return request(url + path, { method: 'POST', headers: { 'x-api-key': key, ...headers }, body, dispatcher });
}

/** Posts a request and reads the answer. */
export async function reply(url: string, options?: Parameters<typeof post>[1]) {
  const { statusCode, headers, body } = await post(url, options);
  return { status: statusCode, headers, text: await body.text() };
}

/** Answers `ok`. */
export const ok = (_: unknown, response: { end(text: string): unknown }) => response.end('ok');

/** Creates a server that handles each connection with `serve`. */
export async function rawServer(serve: (socket: Socket) => void): Promise<{ url: string; connections(): number }> {
  let connections = 0;
  const sockets = new Set<Socket>();
  const server = createRawServer((socket) => {
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

/** A request that may be followed by another one on its connection. */
export const pipelined = (path: string, isLast = false) =>
  `POST ${path} HTTP/1.1\r\nhost: lb\r\nx-api-key: me\r\n${isLast ? 'connection: close\r\n' : ''}content-length: 2\r\n\r\n{}`;
