/**
 * The vocabulary that the rooms share: what a caller hands in and what an answer looks like. No behaviour lives here.
 */

/** The hooks that a plugin can declare, in the order in which admission probes them. */
export const HOOK_KINDS = ['filter', 'shape', 'observe', 'transform_response', 'transform_sse_event'] as const;
/** A hook that a plugin can declare. */
export type HookKind = (typeof HOOK_KINDS)[number];
/** The kinds of slot that can be registered; transforms belong to a shape slot. */
export type SlotKind = 'filter' | 'shape' | 'observe';

/** Anything that `JSON.stringify` would keep; `bigint` stands for integers past 2^53. */
export type Json = null | boolean | number | bigint | string | readonly Json[] | { readonly [key: string]: Json };

/** Header lines in the order of the message. Strings are latin1 code units, as node:http gives them. */
export type HeaderLines = Iterable<readonly [string, string | Uint8Array]>;
/** Headers as an iterable of lines or as node:http's `IncomingHttpHeaders`. */
export type HeadersInput = HeaderLines | { readonly [name: string]: string | readonly string[] | undefined };

/** What a model costs, in micro-dollars per million tokens; `null` or absent is unknown. */
export interface CachePricing {
  readonly status: string;
  readonly inputMicrosPerMillion?: number | bigint | null;
  readonly cacheCreation5mMicrosPerMillion?: number | bigint | null;
  readonly cacheCreation1hMicrosPerMillion?: number | bigint | null;
  readonly cacheReadMicrosPerMillion?: number | bigint | null;
}

/** The request that the load balancer is routing. */
export interface RequestContext {
  readonly requestId: string;
  readonly method: string;
  readonly path: string;
  /** Without its question mark. `''` is a query that is there and empty; absent and `null` are none. */
  readonly query?: string | null;
  readonly headers: HeadersInput;
  readonly body: Uint8Array;
  /** Seen by filters of PDK 0.1.1 and later. */
  readonly threadId?: string | null;
  /** Seen by filters of PDK 0.1.2 and later. */
  readonly serviceTier?: string | null;
  /** Seen by filters of PDK 0.1.1 and later; absent is `''`. */
  readonly canonicalModelId?: string;
  /** Seen by filters of PDK 0.1.1 and later; absent is status `unknown` without prices. */
  readonly cachePricing?: CachePricing;
}

/** How the caller authenticated. Filters and shapes of PDK 0.1.0 see OAuth as `o_auth_subject`. */
export type PrincipalKind = 'api_key' | 'oauth_subject' | 'internal_key' | 'workload_identity' | 'subscription_bearer';

/** The authenticated caller. */
export interface Principal {
  readonly id: string;
  readonly kind: PrincipalKind;
  /** Each value crosses as JSON; keys are sorted by their UTF-8 bytes, nested ones too. */
  readonly claims: Readonly<Record<string, Json>>;
}

/** An upstream that a filter may keep or drop. */
export interface UpstreamCandidate {
  /** A UUID in any of its usual spellings. */
  readonly upstreamId: string;
  readonly name: string;
  readonly kind: string;
  readonly observedAtUnixSecs: number | bigint;
  readonly predictedCacheReadTokens?: number;
  readonly predictedCacheCreationTokens5m?: number;
  readonly predictedCacheCreationTokens1h?: number;
  readonly predictedUncachedInputTokens?: number;
  /** Absent is 1. */
  readonly planCapacityRatio?: number;
  readonly organizationType?: string;
  readonly rateLimitTier?: string;
  readonly seatTier?: string;
}

/** The upstream that a request goes to. */
export interface Upstream {
  readonly kind: 'anthropic_direct';
  readonly baseUrl?: string | URL | null;
}

/** What a per-candidate rejection means, derived from the plugin's label. */
export type RejectionReason = 'rate_limited' | 'insufficient_quota' | 'unhealthy' | 'rejected_by_plugin';

/** A filter's verdict. Ids are lower-case and hyphenated. */
export interface FilterOutput {
  readonly keptUpstreamIds: readonly string[];
  /** Every non-empty `id: text`, joined by `; `; the id in the plugin's own spelling. */
  readonly reason: string;
  readonly perCandidateReasons: readonly { upstreamId: string; reason: RejectionReason; text: string }[];
}

/** The request that a shape plugin wrote for its upstream. */
export interface ShapedRequest {
  readonly url: URL;
  readonly method: string;
  /** Lower-case names, grouped by first appearance; values are latin1 code units. */
  readonly headers: readonly [string, string][];
  readonly body: Uint8Array;
}

/** What an observe plugin is told. u64 fields take `number | bigint`. */
export type ObserveEvent =
  | { readonly type: 'request_started'; readonly requestId: string; readonly downstreamUserAgent: string | null }
  | { readonly type: 'authn_complete'; readonly principalId: string; readonly principalKind: string }
  | { readonly type: 'upstream_chosen'; readonly upstream: Upstream }
  | {
      readonly type: 'chunk';
      readonly batchIndex: number | bigint;
      readonly eventCount: number | bigint;
      readonly totalBytes: number | bigint;
    }
  | {
      readonly type: 'request_finished';
      readonly status: number;
      readonly inputTokens: number | bigint | null;
      readonly outputTokens: number | bigint | null;
      readonly cacheCreationInputTokens: number | bigint | null;
      readonly cacheReadInputTokens: number | bigint | null;
      readonly durationMs: number | bigint;
    }
  | { readonly type: 'error'; readonly code: string; readonly message: string; readonly source: string };

/** One server-sent event: its `event` field and its `data` bytes. */
export interface SseEvent {
  readonly event: string;
  readonly data: Uint8Array;
}

/** What both transforms are told about the exchange. */
export interface TransformContext {
  readonly requestId: string;
  readonly principal: Principal;
  readonly upstream: Upstream;
  readonly requestMethod: string;
  readonly requestPath: string;
  readonly canonicalModelId: string;
  readonly status: number;
  readonly headers: HeadersInput;
}
/** A whole response for `transformResponse`. */
export interface TransformResponseInput extends TransformContext {
  readonly body: Uint8Array;
}
/** One event of a stream for `transformSseEvent`. */
export interface TransformSseEventInput extends TransformContext {
  readonly event: SseEvent;
}
/** What becomes of a response; absent fields keep the original. */
export type TransformResponseOutput =
  | { readonly kind: 'unchanged' }
  | {
      readonly kind: 'replace';
      readonly status?: number;
      readonly headers?: readonly [string, string][];
      readonly body?: Uint8Array;
    };
/** What becomes of one event. */
export type TransformSseEventOutput =
  | { readonly kind: 'unchanged' }
  | { readonly kind: 'replace'; readonly events: readonly SseEvent[] }
  | { readonly kind: 'drop' };
