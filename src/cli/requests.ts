/** The requests of the commands that call a hook: a sample, or one from a JSON file. */
import type { HookKind } from '../types.ts';
import { readJson, textOf, UsageError, type Values } from './command.ts';

const MODEL = 'claude-3-haiku-20240307';
const BODY = `{"model":"${MODEL}","messages":[]}`;
const HEADERS = [['content-type', 'application/json']];
const principal = { id: 'sample-principal', kind: 'api_key', claims: {} };
const upstream = { kind: 'anthropic_direct', baseUrl: 'https://example.test' };
const context = {
  requestId: 'sample-1',
  method: 'POST',
  path: '/v1/messages',
  query: null,
  headers: HEADERS,
  body: BODY,
  canonicalModelId: MODEL,
};
const exchange = {
  requestId: 'sample-1',
  principal,
  upstream,
  requestMethod: 'POST',
  requestPath: '/v1/messages',
  canonicalModelId: MODEL,
  status: 200,
};
const candidate = (digit: number) => ({
  upstreamId: `00000000-0000-4000-8000-00000000000${digit}`,
  name: `upstream-${digit}`,
  kind: 'anthropic_api_key',
  observedAtUnixSecs: 1_700_000_000,
  predictedCacheReadTokens: digit * 1_000,
});

/** A request for each hook, in the form of the JSON file. */
export const SAMPLES: Readonly<Record<HookKind, object>> = {
  filter: { context, principal, candidates: [1, 2, 3].map(candidate) },
  shape: { context, upstream, principal },
  observe: { type: 'request_started', requestId: 'sample-1', downstreamUserAgent: 'cc-lb-plugin/1.0' },
  transform_response: { ...exchange, headers: HEADERS, body: '{"content":[]}' },
  transform_sse_event: {
    ...exchange,
    headers: [['content-type', 'text/event-stream']],
    event: { event: 'content_block_start', data: '{"type":"content_block_start"}' },
  },
};

/** Returns the request of `--request`, or the sample of the hook. @throws UsageError */
export function requestOf(values: Values, hook: HookKind): object {
  const path = textOf(values, 'request');
  const request = path === undefined ? SAMPLES[hook] : readJson(path);
  if (typeof request !== 'object' || request === null || Array.isArray(request)) {
    throw new UsageError('the request: expected a JSON object');
  }
  return request;
}
