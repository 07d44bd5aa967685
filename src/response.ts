/** Transforms of responses and of streams, with the failure policy enforced. */
import type { AsyncCallOptions, CallOptions } from './call-options.ts';
import { isAbort } from './dispatch/abort.ts';
import { ResponseTransformError, type WasmtimeRuntimeError } from './errors.ts';
import { isFinalStatus } from './policy/chain-rules.ts';
import type { PluginFailurePolicy } from './policy/failure.ts';
import { framedResponse } from './policy/framing.ts';
import { rereadable } from './policy/headers.ts';
import { pluginFailed, pluginFailureOrThrow, type Unavailable } from './policy/unavailable.ts';
import { type SseDialect, SseTransformer, type SseTransformerOptions } from './sse/transformer.ts';
import type { TransformContext, TransformResponseInput, TransformResponseOutput } from './types.ts';
import { checkObject } from './validate.ts';

/** The part of a shape that a chain uses to transform responses; `WasmtimeUpstreamDialect` implements it. */
export interface ResponseStage {
  /** The name of the plugin, for errors. */
  readonly pluginName: string;
  /** What happens to a response when the plugin fails. */
  readonly failurePolicy: PluginFailurePolicy;
  /** Transforms on the calling thread; see `WasmtimeUpstreamDialect.transformResponse`. */
  transformResponse(input: TransformResponseInput, options?: CallOptions): TransformResponseOutput;
  /** The asynchronous form of `transformResponse`, which may run on another thread. */
  transformResponseAsync(input: TransformResponseInput, options?: AsyncCallOptions): Promise<TransformResponseOutput>;
  /** Called when a response is passed through after the plugin failed. */
  countPassThrough?(): void;
}

/** The result of a transform. A response that is passed through is the original; `error` is the failure, if any. */
export type ResponseOutcome = TransformedResponse | PassedThroughResponse | Unavailable;

/** The result of opening the transform of a stream. A stream that is passed through is the original. */
export type EventsOutcome = TransformedEvents | PassedThroughResponse | Unavailable;

/** The events pass through the plugin: write the upstream's bytes to `transformer`, and read the client's from it. */
export interface TransformedEvents {
  /** Distinguishes the outcome. */
  readonly kind: 'transforming';
  /** The transform of the stream. */
  readonly transformer: SseTransformer;
}

/** The response of the plugin. Parts that its answer omits are those of the original. */
export interface TransformedResponse {
  /** Distinguishes the outcome. */
  readonly kind: 'transformed';
  /** The status code. */
  readonly status: number;
  /** The headers: without hop-by-hop headers, and with the content-length of the body. */
  readonly headers: readonly [string, string][];
  /** The body; empty if the response ends with its headers (to HEAD, 204, 304), which then have no content-length. */
  readonly body: Uint8Array;
}

/** The original response or stream; `towardsClient` returns the headers to send. */
export interface PassedThroughResponse {
  /** Distinguishes the outcome. */
  readonly kind: 'passed-through';
  /** The failure of the transform; absent if the plugin left the response unchanged or no plugin is configured. */
  readonly error?: WasmtimeRuntimeError;
}

/** Whether the stage of a chain can transform responses. */
export function isResponseStage(stage: Partial<ResponseStage> | undefined): stage is ResponseStage {
  return typeof stage?.transformResponse === 'function' && typeof stage.transformResponseAsync === 'function';
}

/** Whether the stage of a chain can transform the events of a stream. */
export function isEventStage(stage: Partial<SseDialect> | undefined): stage is SseDialect {
  return typeof stage?.transformSseEventAsync === 'function';
}

/** Opens the transform of a stream and applies the failure policy. Throws InvalidArgument and Closed. */
export function resolveEvents(
  stage: SseDialect,
  context: TransformContext,
  options?: SseTransformerOptions,
): EventsOutcome {
  const transformer = new SseTransformer(stage, context, options);
  const { failure, isPassing } = transformer;
  if (failure === undefined && !isPassing) return { kind: 'transforming', transformer };
  transformer.destroy();
  if (failure === undefined) return { kind: 'passed-through' };
  return isPassing ? { kind: 'passed-through', error: failure } : pluginFailed(failure);
}

/**
 * Calls the transform and applies the failure policy. Throws InvalidArgument and Closed, to which no policy applies.
 */
export function resolveResponse(
  stage: ResponseStage,
  input: TransformResponseInput,
  options?: CallOptions,
): ResponseOutcome {
  // Before the call: afterwards, a followed slot may be absent or have another version.
  const { failurePolicy } = stage;
  const response = rereadableResponse(input);
  try {
    return outcomeOf(stage, response, stage.transformResponse(response, options));
  } catch (error) {
    return afterFailure(stage, failurePolicy, error);
  }
}

/** The asynchronous form. Rejects with `signal.reason` on abort. */
export async function resolveResponseAsync(
  stage: ResponseStage,
  input: TransformResponseInput,
  options?: AsyncCallOptions,
): Promise<ResponseOutcome> {
  const { failurePolicy } = stage;
  const response = rereadableResponse(input);
  try {
    return outcomeOf(stage, response, await stage.transformResponseAsync(response, options));
  } catch (error) {
    if (isAbort(error, options?.signal)) throw error;
    return afterFailure(stage, failurePolicy, error);
  }
}

/**
 * Returns a response whose headers can be read repeatedly: the plugin reads them, and an answer without headers keeps
 * them.
 */
function rereadableResponse(input: TransformResponseInput): TransformResponseInput {
  checkObject(input, 'input');
  const headers = rereadable(input.headers);
  if (headers === input.headers) return input;
  // Not a spread, which copies only own fields: the fields of a class may be getters on its prototype.
  const { requestId, principal, upstream, requestMethod, requestPath, canonicalModelId, status, body } = input;
  return { requestId, principal, upstream, requestMethod, requestPath, canonicalModelId, status, headers, body };
}

function outcomeOf(
  stage: ResponseStage,
  input: TransformResponseInput,
  answer: TransformResponseOutput,
): ResponseOutcome {
  if (answer.kind === 'unchanged') return { kind: 'passed-through' };
  const { status = input.status, headers = input.headers, body = input.body } = answer;
  if (!isFinalStatus(status)) {
    const problem = `the answer's status ${status} is not a final one`;
    throw new ResponseTransformError('runtime', problem, { plugin: stage.pluginName, hook: 'transform_response' });
  }
  return { kind: 'transformed', status, ...framedResponse(input.requestMethod, { status, headers, body }) };
}

function afterFailure(stage: ResponseStage, policy: PluginFailurePolicy, error: unknown): ResponseOutcome {
  const failure = pluginFailureOrThrow(error);
  if (policy === 'fail-closed') return pluginFailed(failure);
  stage.countPassThrough?.();
  return { kind: 'passed-through', error: failure };
}
