/** The request for an upstream, in the form of undici. */
import { IncomingMessage } from 'node:http';
import type { ShapedRequest } from 'cc-lb-runtime-wasmtime';
import { type Body, chunksOf } from './body.ts';
import { towardsUpstream } from './headers.ts';
import { plainTarget } from './target.ts';
import type { Target } from './view.ts';

/** A request as undici sends it. */
export interface OutboundRequest {
  /** The origin that a shape selected; absent is that of the upstream. */
  readonly origin?: string;
  readonly path: string;
  readonly method: string;
  readonly headers: string[];
  readonly body: Uint8Array | AsyncIterable<Buffer> | null;
}

/**
 * Returns the client's request without hop-by-hop headers and credentials; null if its target requires a URL parser.
 * `readsAnswer` requests an answer without content-encoding.
 */
export function unshapedRequest(
  request: IncomingMessage,
  body: Body,
  { route, upstream }: Target,
  readsAnswer: boolean,
): OutboundRequest | null {
  const path = plainTarget(upstream, request.url!);
  if (path === null) return null;
  const method = request.method!;
  const { rawHeaders, headers } = request;
  const flat = towardsUpstream(rawHeaders, headers.connection, !readsAnswer);
  if (readsAnswer) flat.push('accept-encoding', 'identity');
  if (route.apiKey !== undefined) flat.push('x-api-key', route.apiKey);
  if (body instanceof IncomingMessage) {
    // With the checked content-length, a stream that ends too early is an error at the upstream.
    flat.push('content-length', headers['content-length']!);
    return { path, method, headers: flat, body: chunksOf(body) };
  }
  return { path, method, headers: flat, body: body.length === 0 ? null : body };
}

/** Returns the request of a shape. The upstream's key is added only for the upstream's origin. */
export function shapedRequest(
  { url, method, headers, body }: ShapedRequest,
  { route, upstream }: Target,
): OutboundRequest {
  const flat: string[] = [];
  for (const [name, value] of headers) if (name !== 'accept-encoding') flat.push(name, value);
  flat.push('accept-encoding', 'identity');
  if (route.apiKey !== undefined && url.origin === upstream.origin) flat.push('x-api-key', route.apiKey);
  const path = url.pathname + url.search;
  return { origin: url.origin, path, method, headers: flat, body: body.length === 0 ? null : body };
}
