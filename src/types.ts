/**
 * The types of arguments and results of the public API.
 */

/** The hooks that a plugin can declare, in the order in which admission probes them. */
export const HOOK_KINDS = ['filter', 'shape', 'observe', 'transform_response', 'transform_sse_event'] as const;
/** A hook that a plugin can declare. */
export type HookKind = (typeof HOOK_KINDS)[number];
/** The kinds of slot that can be registered; transforms belong to a shape slot. */
export type SlotKind = 'filter' | 'shape' | 'observe';

/** A JSON value. `bigint` represents integers past 2^53. */
export type Json = null | boolean | number | bigint | string | readonly Json[] | { readonly [key: string]: Json };

/** Header lines in the order of the message. Strings are latin1 code units, as in node:http. */
export type HeaderLines = Iterable<readonly [string, string | Uint8Array]>;
/** Headers as an iterable of lines or as node:http's `IncomingHttpHeaders`. */
export type HeadersInput = HeaderLines | { readonly [name: string]: string | readonly string[] | undefined };

/** What a model costs, in micro-dollars per million tokens; `null` or absent is unknown. */
export interface CachePricing {
  /** How the prices were obtained, such as `known` or `unknown`; passed unchanged. */
  readonly status: string;
  /** Uncached input tokens. */
  readonly inputMicrosPerMillion?: number | bigint | null;
  /** Tokens written to a cache that lasts five minutes. */
  readonly cacheCreation5mMicrosPerMillion?: number | bigint | null;
  /** Tokens written to a cache that lasts an hour. */
  readonly cacheCreation1hMicrosPerMillion?: number | bigint | null;
  /** Tokens read from a cache. */
  readonly cacheReadMicrosPerMillion?: number | bigint | null;
}

/** The request that the load balancer is routing. */
export interface RequestContext {
  /** Identifies the request to plugins and in events. */
  readonly requestId: string;
  /** The client's method, such as `POST`. */
  readonly method: string;
  /** The client's path, without its query. */
  readonly path: string;
  /** The query without its question mark. `''` is an empty query; absent and `null` are no query. */
  readonly query?: string | null;
  /** The client's headers. Credentials and `host` are removed before a plugin sees them. */
  readonly headers: HeadersInput;
  /** The client's body, at most 2³² − 1 bytes with everything else. */
  readonly body: Uint8Array;
  /** The conversation that the request belongs to, if known. Seen by filters of PDK 0.1.1 and later. */
  readonly threadId?: string | null;
  /** The service tier that the client requests, such as `priority`. Seen by filters of PDK 0.1.2 and later. */
  readonly serviceTier?: string | null;
  /** The model that serves the request; absent is `''`. Seen by filters of PDK 0.1.1 and later. */
  readonly canonicalModelId?: string;
  /** The model's prices; absent is status `unknown` without prices. Seen by filters of PDK 0.1.1 and later. */
  readonly cachePricing?: CachePricing;
}

/** How the caller authenticated. Plugins of PDK 0.1.0 see OAuth as `o_auth_subject`, whatever the hook. */
export type PrincipalKind = 'api_key' | 'oauth_subject' | 'internal_key' | 'workload_identity' | 'subscription_bearer';

/** The authenticated caller. */
export interface Principal {
  /** Identifies the caller. */
  readonly id: string;
  /** How the caller authenticated. */
  readonly kind: PrincipalKind;
  /**
   * The claims of the caller's credential. A plugin receives each value as JSON, with keys sorted by their UTF-8 bytes.
   */
  readonly claims: Readonly<Record<string, Json>>;
}

/** An upstream that a filter may keep or drop. */
export interface UpstreamCandidate {
  /** A UUID in any of its usual spellings. */
  readonly upstreamId: string;
  /** The upstream's name, for people. */
  readonly name: string;
  /** The upstream's kind, such as `anthropic_api_key`. */
  readonly kind: string;
  /** When the load balancer last observed the upstream, in seconds since 1970. */
  readonly observedAtUnixSecs: number | bigint;
  /** Tokens of the prompt that the upstream has probably cached. Absent is 0. */
  readonly predictedCacheReadTokens?: number;
  /** Tokens that the request would add to a cache of five minutes. Absent is 0. */
  readonly predictedCacheCreationTokens5m?: number;
  /** Tokens that the request would add to a cache of an hour. Absent is 0. */
  readonly predictedCacheCreationTokens1h?: number;
  /** Tokens that neither read nor write a cache. Absent is 0. */
  readonly predictedUncachedInputTokens?: number;
  /** The capacity of the upstream account's plan relative to the others. Absent is 1. */
  readonly planCapacityRatio?: number;
  /** The upstream account's organization type. Absent is `''`. */
  readonly organizationType?: string;
  /** The upstream account's rate-limit tier. Absent is `''`. */
  readonly rateLimitTier?: string;
  /** The upstream account's seat tier. Absent is `''`. */
  readonly seatTier?: string;
}

/** The upstream of a request. */
export interface Upstream {
  /** The only kind that the wire format defines. */
  readonly kind: 'anthropic_direct';
  /** The absolute URL below which requests are sent. A chain without a shape, or that passes through, needs it. */
  readonly baseUrl?: string | URL | null;
}

/** What a per-candidate rejection means, derived from the plugin's label. */
export type RejectionReason = 'rate_limited' | 'insufficient_quota' | 'unhealthy' | 'rejected_by_plugin';

/** A filter's rejection of one candidate. */
export interface CandidateRejection {
  /** The candidate's id, in lower case with hyphens. */
  readonly upstreamId: string;
  /** The rejection's meaning, derived from the plugin's label. */
  readonly reason: RejectionReason;
  /** The plugin's text, truncated to `wireBounds.reasonBytes`. */
  readonly text: string;
}

/** A filter's verdict. Ids are lower-case and hyphenated. */
export interface FilterOutput {
  /** The candidates that the plugin accepts, in its own order. */
  readonly keptUpstreamIds: readonly string[];
  /** Every non-empty `id: text`, joined by `; `; the id in the plugin's own spelling. */
  readonly reason: string;
  /** One entry per rejected candidate. */
  readonly perCandidateReasons: readonly CandidateRejection[];
}

/** The request that a shape plugin wrote for its upstream. */
export interface ShapedRequest {
  /** The URL of the request. */
  readonly url: URL;
  /** The method; its case is preserved. */
  readonly method: string;
  /** Lower-case names, grouped by first appearance; values are latin1 code units. */
  readonly headers: readonly [string, string][];
  /** The body. */
  readonly body: Uint8Array;
}

/** The request arrived. */
export interface RequestStartedEvent {
  /** Distinguishes the event. */
  readonly type: 'request_started';
  /** Identifies the request. */
  readonly requestId: string;
  /** The client's user agent. */
  readonly downstreamUserAgent: string | null;
}

/** The caller was authenticated. */
export interface AuthnCompleteEvent {
  /** Distinguishes the event. */
  readonly type: 'authn_complete';
  /** Identifies the caller. */
  readonly principalId: string;
  /** How the caller authenticated. */
  readonly principalKind: PrincipalKind;
}

/** An upstream was chosen for the request. */
export interface UpstreamChosenEvent {
  /** Distinguishes the event. */
  readonly type: 'upstream_chosen';
  /** The upstream. */
  readonly upstream: Upstream;
}

/** A part of the response was sent to the client. */
export interface ChunkEvent {
  /** Distinguishes the event. */
  readonly type: 'chunk';
  /** Counts the batches of a response from 0. */
  readonly batchIndex: number | bigint;
  /** Events in the batch. */
  readonly eventCount: number | bigint;
  /** Bytes in the batch. */
  readonly totalBytes: number | bigint;
}

/** The response is complete. */
export interface RequestFinishedEvent {
  /** Distinguishes the event. */
  readonly type: 'request_finished';
  /** The response's status. */
  readonly status: number;
  /** Input tokens. */
  readonly inputTokens: number | bigint | null;
  /** Output tokens. */
  readonly outputTokens: number | bigint | null;
  /** Input tokens that were written to a cache. */
  readonly cacheCreationInputTokens: number | bigint | null;
  /** Input tokens that were read from a cache. */
  readonly cacheReadInputTokens: number | bigint | null;
  /** Milliseconds from the request's arrival. */
  readonly durationMs: number | bigint;
}

/** The request failed. */
export interface ErrorEvent {
  /** Distinguishes the event. */
  readonly type: 'error';
  /** The error's code. */
  readonly code: string;
  /** The error's message. */
  readonly message: string;
  /** The component that failed. */
  readonly source: string;
}

/** An event of a request's lifecycle, for observe plugins. u64 fields take `number | bigint`; `null` is unknown. */
export type ObserveEvent =
  | RequestStartedEvent
  | AuthnCompleteEvent
  | UpstreamChosenEvent
  | ChunkEvent
  | RequestFinishedEvent
  | ErrorEvent;

/** One server-sent event: its `event` field and its `data` bytes. */
export interface SseEvent {
  /** The event's name; `''` if it has none. */
  readonly event: string;
  /** The event's data, lines joined by LF. */
  readonly data: Uint8Array;
}

/** The exchange, as both transforms receive it. */
export interface TransformContext {
  /** Identifies the request. */
  readonly requestId: string;
  /** The authenticated caller. */
  readonly principal: Principal;
  /** The upstream that answers. */
  readonly upstream: Upstream;
  /** The method of the outbound request. */
  readonly requestMethod: string;
  /** The path of the outbound request. */
  readonly requestPath: string;
  /** The model that serves the request. */
  readonly canonicalModelId: string;
  /** The response's status. */
  readonly status: number;
  /** The response's headers. */
  readonly headers: HeadersInput;
}
/** A complete response for `transformResponse`. */
export interface TransformResponseInput extends TransformContext {
  /** The complete response body. */
  readonly body: Uint8Array;
}
/** One event of a stream for `transformSseEvent`. */
export interface TransformSseEventInput extends TransformContext {
  /** The event to transform. */
  readonly event: SseEvent;
}
/** The original is kept. */
export interface UnchangedOutput {
  /** Distinguishes the outcome. */
  readonly kind: 'unchanged';
}

/** A response that a transform rewrote; absent fields keep the original. */
export interface ReplacedResponse {
  /** Distinguishes the outcome. */
  readonly kind: 'replace';
  /** The new status, 100 to 999. */
  readonly status?: number;
  /** All headers of the new response. */
  readonly headers?: readonly [string, string][];
  /** The new body. */
  readonly body?: Uint8Array;
}

/** Events that replace one event of a stream. */
export interface ReplacedEvents {
  /** Distinguishes the outcome. */
  readonly kind: 'replace';
  /** The new events, in order; none drops the original. */
  readonly events: readonly SseEvent[];
}

/** The event is dropped. */
export interface DroppedEvent {
  /** Distinguishes the outcome. */
  readonly kind: 'drop';
}

/** The outcome of a response transform. */
export type TransformResponseOutput = UnchangedOutput | ReplacedResponse;
/** The outcome of an event transform. */
export type TransformSseEventOutput = UnchangedOutput | ReplacedEvents | DroppedEvent;
