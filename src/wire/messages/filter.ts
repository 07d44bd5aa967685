/** Messages of the filter hook. The request was extended twice; the answer is equal in all schemas. */
import type { CachePricing, UpstreamCandidate } from '../../types.ts';
import {
  body,
  f64,
  field,
  type Message,
  message,
  option,
  recurringText,
  slice,
  struct,
  text,
  u32,
  u64,
} from '../rkyv.ts';
import { type FlatHeaders, headers, type PrincipalValue, principal } from './common.ts';

/** The request of a filter. Each schema encodes the fields that it has. */
export interface FilterRequest {
  readonly requestId: string;
  readonly threadId?: string | null | undefined;
  readonly serviceTier?: string | null | undefined;
  /** Absent is `''`. */
  readonly canonicalModelId?: string | undefined;
  /** Absent is status `unknown` without prices. */
  readonly cachePricing?: CachePricing | undefined;
  readonly method: string;
  readonly path: string;
  readonly query?: string | null | undefined;
  readonly headers: FlatHeaders;
  readonly body: Uint8Array;
  readonly principal: PrincipalValue;
  /** `upstreamId` is encoded unchanged. */
  readonly candidates: readonly UpstreamCandidate[];
}

/** The verdict of a filter on one candidate. */
export interface CandidateVerdict {
  readonly upstreamId: string;
  readonly decision: string;
  readonly reason: string;
}

/** The answer of a filter. */
export interface FilterResponse {
  readonly results: readonly CandidateVerdict[];
}

const baseCandidateFields = [
  field('upstreamId', text),
  field('name', text),
  field('kind', text),
  field('observedAtUnixSecs', u64),
  field('predictedCacheReadTokens', u32, 0),
];

const baseCandidate = struct<UpstreamCandidate>(baseCandidateFields, {
  recurs: true,
  read: (c) => [c.upstreamId, c.name, c.kind, c.observedAtUnixSecs, c.predictedCacheReadTokens],
});

const plannedCandidate = struct<UpstreamCandidate>(
  [
    ...baseCandidateFields,
    field('predictedCacheCreationTokens5m', u32, 0),
    field('predictedCacheCreationTokens1h', u32, 0),
    field('predictedUncachedInputTokens', u32, 0),
    field('planCapacityRatio', f64, 1),
    field('organizationType', text, ''),
    field('rateLimitTier', text, ''),
    field('seatTier', text, ''),
  ],
  {
    recurs: true,
    read: (c) => [
      c.upstreamId,
      c.name,
      c.kind,
      c.observedAtUnixSecs,
      c.predictedCacheReadTokens,
      c.predictedCacheCreationTokens5m,
      c.predictedCacheCreationTokens1h,
      c.predictedUncachedInputTokens,
      c.planCapacityRatio,
      c.organizationType,
      c.rateLimitTier,
      c.seatTier,
    ],
  },
);

const cachePricing = struct<CachePricing>(
  [
    field('status', text),
    field('inputMicrosPerMillion', option(u64)),
    field('cacheCreation5mMicrosPerMillion', option(u64)),
    field('cacheCreation1hMicrosPerMillion', option(u64)),
    field('cacheReadMicrosPerMillion', option(u64)),
  ],
  {
    read: (p) => [
      p.status,
      p.inputMicrosPerMillion,
      p.cacheCreation5mMicrosPerMillion,
      p.cacheCreation1hMicrosPerMillion,
      p.cacheReadMicrosPerMillion,
    ],
  },
);

const requestId = field('requestId', text);
const threadId = field('threadId', option(text));
const pricedModel = [
  field('canonicalModelId', text, ''),
  field('cachePricing', cachePricing, Object.freeze({ status: 'unknown' })),
];
const httpRequest = [
  field('method', text),
  field('path', text),
  field('query', option(text)),
  field('headers', headers),
  field('body', body),
  field('principal', principal),
];

/** Wire 0.2.0 (PDK 0.1.0). */
export const filterRequestBase: Message<FilterRequest> = message(
  'FilterRequest',
  struct<FilterRequest>([requestId, ...httpRequest, field('candidates', slice(baseCandidate))], {
    read: (r) => [r.requestId, r.method, r.path, r.query, r.headers, r.body, r.principal, r.candidates],
  }),
);

/** Wire 0.6.1 (PDK 0.1.1): thread, model, pricing; candidates with plans and predictions. */
export const filterRequestPriced: Message<FilterRequest> = message(
  'FilterRequest',
  struct<FilterRequest>(
    [requestId, threadId, ...pricedModel, ...httpRequest, field('candidates', slice(plannedCandidate))],
    {
      read: (r) => [
        r.requestId,
        r.threadId,
        r.canonicalModelId,
        r.cachePricing,
        r.method,
        r.path,
        r.query,
        r.headers,
        r.body,
        r.principal,
        r.candidates,
      ],
    },
  ),
);

/** Wire 0.8.0 and 0.9.0 (PDK 0.1.2 and 0.2.0): the service tier as well. */
export const filterRequestTiered: Message<FilterRequest> = message(
  'FilterRequest',
  struct<FilterRequest>(
    [
      requestId,
      threadId,
      field('serviceTier', option(text)),
      ...pricedModel,
      ...httpRequest,
      field('candidates', slice(plannedCandidate)),
    ],
    {
      read: (r) => [
        r.requestId,
        r.threadId,
        r.serviceTier,
        r.canonicalModelId,
        r.cachePricing,
        r.method,
        r.path,
        r.query,
        r.headers,
        r.body,
        r.principal,
        r.candidates,
      ],
    },
  ),
);

const verdict = struct<CandidateVerdict>(
  [field('upstreamId', recurringText), field('decision', recurringText), field('reason', text)],
  {
    make: ([upstreamId, decision, reason]) => ({ upstreamId, decision, reason }),
  },
);

export const filterResponse: Message<FilterResponse> = message(
  'FilterResponse',
  struct<FilterResponse>([field('results', slice(verdict))]),
);
