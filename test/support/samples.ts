/** Sample arguments in the form in which a load balancer passes them. */
import type {
  ObserveEvent,
  Principal,
  RequestContext,
  TransformContext,
  TransformResponseInput,
  TransformSseEventInput,
  Upstream,
  UpstreamCandidate,
} from '../../src/types.ts';

/** Returns a request with `changes` applied. */
export function request(changes: Partial<RequestContext> = {}): RequestContext {
  return {
    requestId: 'req-1',
    method: 'POST',
    path: '/v1/messages',
    headers: [['content-type', 'application/json']],
    body: Buffer.from('{"model":"m","messages":[]}'),
    ...changes,
  };
}

/** Returns a caller with an API key and the given claims. */
export function caller(claims: Principal['claims'] = {}): Principal {
  return { id: 'principal-1', kind: 'api_key', claims };
}

/** Returns the n-th upstream id of the samples. */
export function upstreamId(n: number): string {
  return `00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`;
}

/** Returns `count` candidates with 100, 200, … predicted cache-read tokens. */
export function candidates(count: number): UpstreamCandidate[] {
  return Array.from({ length: count }, (_, index) => ({
    upstreamId: upstreamId(index + 1),
    name: `upstream-${index + 1}`,
    kind: 'anthropic_api_key',
    observedAtUnixSecs: 1_700_000_000,
    predictedCacheReadTokens: (index + 1) * 100,
  }));
}

/** The upstream that requests are shaped for. */
export const upstream: Upstream = { kind: 'anthropic_direct', baseUrl: 'https://upstream.test' };

/** Returns an event whose request id selects the behavior of the guest `misbehave`. */
export function started(requestId = 'req-1'): ObserveEvent {
  return { type: 'request_started', requestId, downstreamUserAgent: null };
}

/** One event of every type. */
export const EVENTS: readonly ObserveEvent[] = [
  { type: 'request_started', requestId: 'r', downstreamUserAgent: 'agent/1' },
  { type: 'authn_complete', principalId: 'p', principalKind: 'api_key' },
  { type: 'upstream_chosen', upstream },
  { type: 'chunk', batchIndex: 1, eventCount: 2n, totalBytes: 2n ** 63n },
  {
    type: 'request_finished',
    status: 200,
    inputTokens: 1,
    outputTokens: null,
    cacheCreationInputTokens: 2n,
    cacheReadInputTokens: null,
    durationMs: 12,
  },
  { type: 'error', code: 'c', message: 'm', source: 's' },
];

/** Returns the exchange to which a response belongs. */
export function exchange(changes: Partial<TransformContext> = {}): TransformContext {
  return {
    requestId: 'req-1',
    principal: caller(),
    upstream,
    requestMethod: 'POST',
    requestPath: '/v1/messages',
    canonicalModelId: 'model-1',
    status: 200,
    headers: [['content-type', 'application/json']],
    ...changes,
  };
}

/** Returns a response with its exchange, for `transformResponse`. */
export function response(changes: Partial<TransformResponseInput> = {}): TransformResponseInput {
  return { ...exchange(), body: Buffer.from('{"ok":true}'), ...changes };
}

/** Returns an SSE event with its exchange, for `transformSseEvent`. */
export function sseEvent(changes: Partial<TransformSseEventInput> = {}): TransformSseEventInput {
  return { ...exchange(), event: { event: 'message', data: Buffer.from('hello') }, ...changes };
}
