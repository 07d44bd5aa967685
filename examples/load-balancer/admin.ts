/**
 * The admin server: queries and changes by operators, on an address that clients cannot reach. Changes require a token.
 */
import { hash, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { isIP } from 'node:net';
import { z } from 'zod';
import type { DryRun, Explanation } from './explain.ts';
import { bearerToken } from './headers.ts';
import { PAGE } from './page.ts';
import type { PluginStatus, Status } from './status.ts';
import type { PluginName } from './worker.ts';

/** The queries and changes of the admin server. */
export interface Operations {
  /** If undefined, all changes are rejected. */
  readonly token: string | undefined;
  /** The DNS names by which operators reach the server, besides `localhost`; in lower case. */
  readonly names: readonly string[];
  /** Whether new requests are accepted. */
  readonly isReady: boolean;
  /** The problems of all processes, one sentence each; empty if healthy. */
  problems(): Promise<readonly string[]>;
  metrics(): Promise<{ text: string; contentType: string }>;
  status(): Promise<Status>;
  plugins(): Promise<readonly PluginStatus[]>;
  explain(run: DryRun): Promise<Explanation>;
  disable(name: PluginName & { readonly reason: string }): Promise<void>;
  enable(name: PluginName): Promise<void>;
  rollback(name: PluginName): Promise<void>;
}

const MAX_BODY_BYTES = 1024 * 1024;
const nameSchema = z.strictObject({ plugin: z.string().min(1), principal: z.string().min(1).optional() });
const disableSchema = nameSchema.extend({ reason: z.string().min(1) });
const runSchema = z.strictObject({
  principal: z.string().min(1),
  method: z.string().default('POST'),
  path: z.string().startsWith('/').default('/v1/messages'),
  headers: z.array(z.tuple([z.string(), z.string()])).default([]),
  body: z.string().default(''),
});
/** The page loads no resources and runs only its own script. */
const PAGE_HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy':
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
};

/** A response: its status and its JSON. */
type Answer = readonly [status: number, body: unknown];

/** Creates the server, which does not listen yet. */
export function adminServer(operations: Operations): Server {
  return createServer((request, response) => {
    respond(operations, request, response).catch((error: unknown) => {
      sendJson(response, [500, { error: error instanceof Error ? error.message : String(error) }]);
    });
  });
}

async function respond(operations: Operations, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (!isNamed(request.headers.host, operations.names)) {
    return sendJson(response, [403, { error: 'the name in the header host is not one of admin.names' }]);
  }
  const path = (request.url ?? '/').split('?', 1)[0]!;
  if (request.method === 'POST') return sendJson(response, await change(operations, path, request));
  if (request.method !== 'GET' && request.method !== 'HEAD')
    return sendJson(response, [405, { error: 'use GET or POST' }]);
  switch (path) {
    case '/':
      response.writeHead(200, PAGE_HEADERS).end(PAGE);
      return;
    case '/metrics': {
      const { text, contentType } = await operations.metrics();
      response.writeHead(200, { 'content-type': contentType }).end(text);
      return;
    }
    case '/healthz': {
      const problems = await operations.problems();
      return sendJson(response, [problems.length === 0 ? 200 : 503, { ok: problems.length === 0, problems }]);
    }
    case '/readyz':
      return sendJson(response, [operations.isReady ? 200 : 503, { ready: operations.isReady }]);
    case '/plugins':
      return sendJson(response, [200, await operations.plugins()]);
    case '/status':
      return sendJson(response, [200, await operations.status()]);
    default:
      return sendJson(response, [404, { error: 'no such page' }]);
  }
}

/**
 * Whether a Host header has an address or a known name. With another one, the request may be from a page whose name was
 * rebound to this server's address, so that a browser lets it read the answer.
 */
function isNamed(host: string | undefined, names: readonly string[]): boolean {
  if (host === undefined) return true;
  const name = host.replace(/:\d+$/, '').toLowerCase();
  return name === 'localhost' || names.includes(name) || isIP(name.replace(/^\[(.*)\]$/, '$1')) !== 0;
}

async function change(operations: Operations, path: string, request: IncomingMessage): Promise<Answer> {
  if (operations.token === undefined)
    return [403, { error: 'changes require a token: set admin.tokenVariable in the config' }];
  if (!isSame(bearerToken(request.headers), operations.token)) return [401, { error: 'the token is missing or wrong' }];
  const body = await readJson(request);
  switch (path) {
    case '/explain':
      return parsed(runSchema, body, (run) => operations.explain(run));
    case '/plugins/disable':
      return parsed(disableSchema, body, (name) => operations.disable(name));
    case '/plugins/enable':
      return parsed(nameSchema, body, (name) => operations.enable(name));
    case '/plugins/rollback':
      return parsed(nameSchema, body, (name) => operations.rollback(name));
    default:
      return [404, { error: 'no such operation' }];
  }
}

async function parsed<T>(
  schema: z.ZodType<T>,
  body: unknown,
  operate: (argument: T) => Promise<unknown>,
): Promise<Answer> {
  const result = schema.safeParse(body);
  if (!result.success) return [400, { error: z.prettifyError(result.error) }];
  try {
    return [200, (await operate(result.data)) ?? { ok: true }];
  } catch (error) {
    return [409, { error: error instanceof Error ? error.message : String(error) }];
  }
}

/** Compares hashes, so that the time of the comparison does not depend on the token. */
function isSame(given: string, token: string): boolean {
  return timingSafeEqual(hash('sha256', given, 'buffer'), hash('sha256', token, 'buffer'));
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) return undefined;
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString());
  } catch {
    return undefined;
  }
}

function sendJson(response: ServerResponse, [status, body]: Answer): void {
  if (response.headersSent) response.destroy();
  else response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}
