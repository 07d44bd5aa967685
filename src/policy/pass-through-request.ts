import type { RequestContext, ShapedRequest, Upstream } from '../types.ts';
import { passThroughHeaders } from './headers.ts';
import { passThroughUrl } from './pass-through-url.ts';

/** Returns the original request, addressed to the upstream; null without a valid address. */
export function passThroughRequest(ctx: RequestContext, upstream: Upstream): ShapedRequest | null {
  const url = passThroughUrl(upstream?.baseUrl ?? null, ctx.path, ctx.query ?? null);
  return url && { url, method: ctx.method, headers: passThroughHeaders(ctx.headers), body: ctx.body };
}
