// Requests as a load balancer sees them. What recurs in real traffic recurs here (upstreams, principals, header names, most
// header values), as equal strings and not as the same objects; ids, scores, tokens and bodies differ from request to request.
import { randomBytes, randomInt } from 'node:crypto';

const REQUESTS = 512;
const BODY_RING_BYTES = 64 * 1024 * 1024;
const EVENT_BYTES = 200;
const CANDIDATES = 8;

const letters = (length) => randomBytes(length).toString('hex').slice(0, length);
const pick = (values) => fresh(values[randomInt(values.length)]);
/** An equal string that shares nothing with `text`, as a parser would make it. */
const fresh = (text) => Buffer.from(text).toString();

const MODEL = 'claude-3-haiku-20240307';
const USER_AGENTS = ['claude-cli/1.0.80 (external, cli)', 'anthropic-sdk-python/0.39.0', 'node-fetch/3.3.2'];
const BETAS = ['prompt-caching-2024-07-31', 'prompt-caching-2024-07-31,token-counting-2024-11-01'];
const UPSTREAMS = Array.from({ length: CANDIDATES }, (_, index) => ({
  upstreamId: `0190f2f6-5c0e-7c60-9c0a-6d8f3f2b1a0${index}`,
  name: `upstream-${index}`,
}));

function headers() {
  return [
    ['accept', 'application/json'],
    ['accept-encoding', 'gzip, deflate, br'],
    ['anthropic-beta', pick(BETAS)],
    ['anthropic-version', '2023-06-01'],
    ['authorization', `Bearer ${letters(40)}`],
    ['content-type', 'application/json'],
    ['user-agent', pick(USER_AGENTS)],
    ['x-app', 'cli'],
    ['x-forwarded-for', `203.0.113.${randomInt(256)}`],
    ['x-request-id', letters(32)],
    ['x-stainless-lang', 'js'],
    ['x-stainless-os', 'Linux'],
  ].map(([name, value]) => [fresh(name), fresh(value)]);
}

const candidate = ({ upstreamId, name }) => ({
  upstreamId: fresh(upstreamId),
  name: fresh(name),
  kind: fresh('anthropic_api_key'),
  observedAtUnixSecs: 1_700_000_000 + randomInt(1_000_000),
  predictedCacheReadTokens: randomInt(100_001),
});

/** 512 requests that share as many bodies as fit into 64 MiB, at least 4 and at most 64. */
export function requests(bodyBytes) {
  const count = Math.min(64, Math.max(4, Math.floor(BODY_RING_BYTES / bodyBytes)));
  const bodies = Array.from({ length: count }, () => randomBytes(bodyBytes));
  return Array.from({ length: REQUESTS }, (_, index) => ({
    ctx: {
      requestId: `req_${letters(24)}`,
      method: 'POST',
      path: fresh('/v1/messages'),
      query: fresh('beta=true'),
      headers: headers(),
      body: bodies[index % count],
    },
    candidates: UPSTREAMS.map(candidate),
    upstream: { kind: 'anthropic_direct', baseUrl: fresh('https://api.anthropic.com') },
  }));
}

/** The principals, each one object that all of its requests share. `transform` is what the transforms plugin does. */
export function principals(count) {
  return Array.from({ length: count }, (_, index) => ({
    id: `tenant-${index}`,
    kind: 'api_key',
    claims: { keep: 1 + (index % 3), plan: 'team', transform: 'upper' },
  }));
}

/** The events of one stream, 200 bytes of data each. */
export function streamEvents(count) {
  return Array.from({ length: count }, () => ({
    event: 'content_block_delta',
    data: Buffer.from(letters(EVENT_BYTES)),
  }));
}

/** The input of `transform_response`. */
export function responseInput(request, principal) {
  return transformInput(request, principal, 'application/json', request.ctx.body, undefined);
}

/** The inputs of `transform_sse_event` for events of one stream. */
export function eventInputs(request, principal, events) {
  return events.map((event) => transformInput(request, principal, 'text/event-stream', undefined, event));
}

/**
 * The input of either transform, which ignores the other one's field. A literal: on Node 20, V8 takes more than a
 * microsecond for `{ ...context, event }`, and that is not a part of the call.
 */
function transformInput({ ctx, upstream }, principal, contentType, body, event) {
  return {
    requestId: ctx.requestId,
    principal,
    upstream,
    requestMethod: ctx.method,
    requestPath: ctx.path,
    canonicalModelId: MODEL,
    status: 200,
    headers: [
      ['content-type', contentType],
      ['request-id', ctx.requestId],
    ],
    body,
    event,
  };
}

/** One of each kind of event that an observer is given in the course of a request. */
export function observeEvents({ ctx, upstream }, principal) {
  return [
    { type: 'request_started', requestId: ctx.requestId, downstreamUserAgent: USER_AGENTS[0] },
    { type: 'authn_complete', principalId: principal.id, principalKind: principal.kind },
    { type: 'upstream_chosen', upstream },
    { type: 'chunk', batchIndex: 1, eventCount: 20, totalBytes: 5_000 },
    {
      type: 'request_finished',
      status: 200,
      inputTokens: 1_200,
      outputTokens: 300,
      cacheCreationInputTokens: 0,
      cacheReadInputTokens: 900,
      durationMs: 1_500,
    },
    { type: 'error', code: 'upstream_timeout', message: 'no answer in time', source: 'upstream' },
  ];
}
