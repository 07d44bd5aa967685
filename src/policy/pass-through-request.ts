import type { RequestContext, ShapedRequest, Upstream } from '../types.ts';
import { checkObject } from '../validate.ts';
import { passThroughHeaders, rereadable } from './headers.ts';
import { passThroughUrl } from './pass-through-url.ts';

/** Returns the original request, addressed to the upstream; null without a valid address. */
export function passThroughRequest(ctx: RequestContext, upstream: Upstream): ShapedRequest | null {
  const url = passThroughUrl(upstream?.baseUrl ?? null, ctx.path, ctx.query ?? null);
  return url && { url, method: ctx.method, headers: passThroughHeaders(ctx.headers), body: ctx.body };
}

/**
 * Returns a request whose headers can be read repeatedly: every plugin reads them, and a passed-through request too.
 * @throws InvalidArgumentError unless `ctx` is an object
 */
export function rereadableRequest(ctx: RequestContext): RequestContext {
  checkObject(ctx, 'ctx');
  const headers = rereadable(ctx.headers);
  if (headers === ctx.headers) return ctx;
  // Not a spread, which copies only own fields: the fields of a class may be getters on its prototype.
  const { requestId, method, path, query, body, threadId, serviceTier, canonicalModelId, cachePricing } = ctx;
  const request = { requestId, method, path, query, headers, body };
  return { ...ctx, ...request, threadId, serviceTier, canonicalModelId, cachePricing } as RequestContext;
}
