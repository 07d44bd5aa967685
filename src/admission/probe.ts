/**
 * The canonical samples. Admission calls every declared hook with one before its module serves a request, and its
 * answer must decode. They are those of the Rust crate, with the fields that later schemas added.
 */

import { encodeMessage } from '../dispatch/encode.ts';
import type { CallScratch } from '../dispatch/scratch.ts';
import type { HookKind } from '../types.ts';
import { type DecodeLimits, decodeAnswer, type EncodedBytes } from '../wire/decode.ts';
import type { DeclaredSchemas, SchemaByHook } from '../wire/schemas.ts';

/** Limits of an answer to a sample, which is decoded and not used. */
const LIMITS: DecodeLimits = { maxElements: 10_000, maxTextBytes: 4_096 };
const REQUEST_ID = 'probe-req-1';
const MODEL = 'claude-3-haiku-20240307';
const BODY = Buffer.from(`{"model":"${MODEL}","messages":[]}`);
const HEADERS = ['content-type', 'application/json'];
const principal = { id: 'probe-principal', kind: 'api_key', claims: [] };
// Encoded without a trailing slash, unlike a caller's base URL.
const upstream = { baseUrl: 'https://example.test' };
const request = {
  requestId: REQUEST_ID,
  method: 'POST',
  path: '/v1/messages',
  query: null,
  headers: HEADERS,
  body: BODY,
  principal,
};
const exchange = {
  requestId: REQUEST_ID,
  principal,
  upstream,
  requestMethod: 'POST',
  requestPath: '/v1/messages',
  canonicalModelId: MODEL,
  responseStatus: 200,
};
const response = { exchange: { ...exchange, responseHeaders: HEADERS }, body: Buffer.from('{"content":[]}') };
const streamed = {
  exchange: { ...exchange, responseHeaders: ['content-type', 'text/event-stream'] },
  event: { event: 'content_block_start', data: Buffer.from('{"type":"content_block_start"}') },
};
const candidate = {
  upstreamId: '00000000-0000-4000-8000-000000000001',
  name: 'probe-upstream',
  kind: 'anthropic_api_key',
  observedAtUnixSecs: 0,
};

/** One call of a probe. */
export interface Probe {
  readonly hook: HookKind;
  readonly encode: (scratch: CallScratch) => void;
  /** Throws if the answer does not decode. */
  readonly decode: (encoded: EncodedBytes) => void;
  /** Suffix of the message of a failure: the purpose of the sample, if it is not the canonical one. */
  readonly note: string;
}

/** Returns the probes of the hooks that the host calls, in the order in which they are sent. */
export function probesFor(schemas: DeclaredSchemas): Probe[] {
  const probes: Probe[] = [];
  const { filter, shape, observe, transform_response, transform_sse_event } = schemas;
  if (filter) {
    const sample = { ...request, canonicalModelId: MODEL, serviceTier: 'priority', candidates: [] };
    probes.push(probe(filter, sample, ''));
    // Two unpublished wire releases share these fingerprints and differ only in the candidate, so they pass a sample
    // without one.
    if (!filter.pdkReleases.includes('0.1.2')) {
      const note = ' (with one candidate; plugins of wire 0.3.0 and 0.4.0 have this fingerprint with another layout)';
      probes.push(probe(filter, { ...sample, candidates: [candidate] }, note));
    }
  }
  if (shape) probes.push(probe(shape, { ...request, upstream }, ''));
  if (observe) {
    const event = { type: 'request_started', requestId: REQUEST_ID, downstreamUserAgent: 'cc-lb-probe/1.0' } as const;
    probes.push({
      hook: 'observe',
      encode: (scratch) => encodeMessage(observe.request, event, scratch),
      decode: () => {},
      note: '',
    });
  }
  if (transform_response) probes.push(probe(transform_response, response, ''));
  if (transform_sse_event) probes.push(probe(transform_sse_event, streamed, ''));
  return probes;
}

type Answering = Exclude<HookKind, 'observe'>;
type RequestOf<Hook extends Answering> = NonNullable<SchemaByHook[Hook]['request']['value']>;

function probe<Hook extends Answering>(schema: SchemaByHook[Hook], sample: RequestOf<Hook>, note: string): Probe {
  const { hook, request, response } = schema as SchemaByHook['shape'];
  return {
    hook: hook as HookKind,
    encode: (scratch) => encodeMessage(request, sample as RequestOf<'shape'>, scratch),
    decode: (encoded) => void decodeAnswer(response, encoded, LIMITS),
    note,
  };
}
