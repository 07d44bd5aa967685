/** Shape plugins: write the request for the upstream, and transform its response. */
import type { AsyncCallOptions, CallOptions } from '../call-options.ts';
import type { HotEngineConfig } from '../config.ts';
import { areDroppedHeadersWatched, publishDroppedHeaders } from '../diagnostics.ts';
import { encodeMessage } from '../dispatch/encode.ts';
import type { CallScratch } from '../dispatch/scratch.ts';
import { DialectError, InvalidArgumentError } from '../errors.ts';
import { headerLimits } from '../policy/bounds.ts';
import { isForwardedMethod } from '../policy/chain-rules.ts';
import { shapedRequest } from '../policy/decision.ts';
import { droppedByShape, requestHeaders } from '../policy/headers.ts';
import { InvalidAnswerError } from '../policy/invalid-answer.ts';
import { passThroughRequest, rereadableRequest } from '../policy/pass-through-request.ts';
import type { WasmtimeRuntime } from '../runtime.ts';
import type { SlotKey } from '../slot-key.ts';
import type { PluginSlot } from '../slots.ts';
import { type EventTransform, unchangedEvents } from '../sse/event-transform.ts';
import type {
  Principal,
  RequestContext,
  ShapedRequest,
  SseEvent,
  TransformContext,
  TransformResponseInput,
  TransformResponseOutput,
  TransformSseEventInput,
  TransformSseEventOutput,
  Upstream,
} from '../types.ts';
import { checkObject } from '../validate.ts';
import type { Version } from '../versions.ts';
import { decodeAnswer, type EncodedBytes } from '../wire/decode.ts';
import type { ShapeRequest } from '../wire/messages/shape.ts';
import type { SchemaByHook } from '../wire/schemas.ts';
import { Adapter, FollowedKey } from './adapter.ts';
import { AdapterCall } from './adapter-call.ts';
import { type Exchange, recurringExchangeOf, streamExchangeOf } from './exchange.ts';
import type { WrapError } from './hook-error.ts';
import { type OpenStream, StreamTransform } from './stream.ts';
import { checkDecoded, ResponseCall, SseEventCall, toTransformError } from './transform.ts';
import { bodyOf, principalFor, principalValue, upstreamUrl } from './values.ts';

const toDialectError: WrapError = (fault, context) => {
  const kind = fault instanceof InvalidAnswerError && fault.rule === 'url' ? 'invalid-url' : 'unsupported-request';
  return new DialectError(kind, `shape plugin failed: ${fault.message}`, context);
};

/** A shape plugin of a slot, and the transforms that belong to it. */
export class WasmtimeUpstreamDialect extends Adapter<'shape'> {
  /**
   * Creates an adapter that is pinned to the current version of `slot`. Throws ModuleRejected for a slot of another
   * kind, SlotNotFound for an evicted one, InvalidArgument for anything else, and Closed.
   */
  constructor(runtime: WasmtimeRuntime, slot: PluginSlot | FollowedKey) {
    super('shape', runtime, slot);
  }

  /**
   * Creates an adapter that uses the current version of the slot at each call. A missing slot is a failure of the call.
   * Throws InvalidArgument for anything but a key, and Closed.
   */
  static follow(runtime: WasmtimeRuntime, key: SlotKey): WasmtimeUpstreamDialect {
    return new WasmtimeUpstreamDialect(runtime, new FollowedKey(key));
  }

  /**
   * Calls the plugin, which writes the request for `upstream`. The call blocks this thread for at most the deadline.
   * The request has no content-length: apply `towardsUpstream` before you send it, as `PluginChain` does. The request may
   * have any method: `PluginChain` rejects CONNECT, TRACE, TRACK, and HEAD for a client's request with another method. Throws
   * DialectError for a failure of the plugin, InvalidArgument for invalid arguments, and Closed.
   */
  shape(ctx: RequestContext, upstream: Upstream, principal: Principal, options?: CallOptions): ShapedRequest {
    return this.inline(this.#call(ctx, upstream, principal, options));
  }

  /** The asynchronous form of `shape`, on the thread that `options.where` selects. Rejects as `shape` throws. */
  async shapeAsync(
    ctx: RequestContext,
    upstream: Upstream,
    principal: Principal,
    options?: AsyncCallOptions,
  ): Promise<ShapedRequest> {
    return this.anywhere(this.#call(ctx, upstream, principal, options), options);
  }

  /**
   * Transforms a complete response. Hop-by-hop headers and content-length of the answer are dropped; `towardsClient`
   * drops those of the original. A plugin without the hook, or with the hook in noop mode, is not called. Throws
   * ResponseTransformError for a failure of the plugin and for an encoded body (by the header content-encoding),
   * InvalidArgument for invalid arguments, and Closed.
   */
  transformResponse(input: TransformResponseInput, options?: CallOptions): TransformResponseOutput {
    checkObject(input, 'input');
    const version = this.versionFor('transform_response', toTransformError);
    if (!version.schemas.transform_response) return { kind: 'unchanged' };
    return this.inline(new ResponseCall(version, this.core.config, input, options));
  }

  /** The asynchronous form of `transformResponse`, on the thread that `options.where` selects. Rejects as it throws. */
  async transformResponseAsync(
    input: TransformResponseInput,
    options?: AsyncCallOptions,
  ): Promise<TransformResponseOutput> {
    checkObject(input, 'input');
    const version = this.versionFor('transform_response', toTransformError);
    if (!version.schemas.transform_response) return { kind: 'unchanged' };
    return this.anywhere(new ResponseCall(version, this.core.config, input, options), options);
  }

  /** Transforms one event of a stream. Otherwise like `transformResponse`. */
  transformSseEvent(input: TransformSseEventInput, options?: CallOptions): TransformSseEventOutput {
    checkObject(input, 'input');
    const version = this.versionFor('transform_sse_event', toTransformError);
    if (!version.schemas.transform_sse_event) return { kind: 'unchanged' };
    return this.inline(new SseEventCall(version, this.core.config, recurringExchangeOf(input), input.event, options));
  }

  /** The asynchronous form of `transformSseEvent`, on the thread that `options.where` selects. Rejects as it throws. */
  async transformSseEventAsync(
    input: TransformSseEventInput,
    options?: AsyncCallOptions,
  ): Promise<TransformSseEventOutput> {
    checkObject(input, 'input');
    const version = this.versionFor('transform_sse_event', toTransformError);
    if (!version.schemas.transform_sse_event) return { kind: 'unchanged' };
    const call = new SseEventCall(version, this.core.config, recurringExchangeOf(input), input.event, options);
    return this.anywhere(call, options);
  }

  /**
   * Opens the transform of one response's events. Close it when the stream ends. The context is read once. With
   * `instance: 'stream'`, the events share an instance of the current version; otherwise each is like a
   * `transformSseEventAsync`. If the current version has no hook for events, or it is in noop mode, all events stay
   * unchanged. Throws ResponseTransformError for an absent slot and for an encoded body, InvalidArgument for an invalid
   * context, and Closed.
   */
  openSseStream(context: TransformContext): EventTransform {
    checkObject(context, 'context');
    const version = this.versionFor('transform_sse_event', toTransformError);
    if (!version.schemas.transform_sse_event) return unchangedEvents;
    const exchange = streamExchangeOf(context);
    const isEnforced = version.options.enforcement === 'enforce';
    if (isEnforced) checkDecoded(exchange, version.contextOf('transform_sse_event'));
    if (version.options.instance === 'event' || !isEnforced) {
      return { transform: (event, options) => this.#transformEvent(exchange, event, options), close() {} };
    }
    const { config } = this.core;
    const call = (event: SseEvent, options: AsyncCallOptions | undefined, stream: OpenStream) =>
      this.anywhere(new SseEventCall(version, config, exchange, event, options, stream), options);
    return new StreamTransform(version.module, exchange.value.principal.id, call);
  }

  /** Transforms an event of a stream with a new instance of the current version. */
  async #transformEvent(
    exchange: Exchange,
    event: SseEvent,
    options: AsyncCallOptions | undefined,
  ): Promise<TransformSseEventOutput> {
    const version = this.versionFor('transform_sse_event', toTransformError);
    if (!version.schemas.transform_sse_event) return { kind: 'unchanged' };
    return this.anywhere(new SseEventCall(version, this.core.config, exchange, event, options), options);
  }

  #call(ctx: RequestContext, upstream: Upstream, principal: Principal, options: CallOptions | undefined): ShapeCall {
    checkObject(ctx, 'ctx');
    const version = this.versionFor('shape', toDialectError);
    const { config } = this.core;
    const baseUrl = upstreamUrl(upstream);
    // The outcome of a monitored version is the original request, whose headers are read a second time.
    const original = version.options.enforcement === 'enforce' ? ctx : rereadableRequest(ctx);
    const request = {
      requestId: original.requestId,
      method: original.method,
      path: original.path,
      query: original.query,
      headers: requestHeaders(original.headers, config),
      body: bodyOf(original.body),
      principal: principalValue(principal, version.schemas.shape.oauthPrincipalKind),
      upstream: { baseUrl: baseUrl === null ? null : baseUrl.href },
    };
    return new ShapeCall(version, config, request, baseUrl, options, { ctx: original, upstream });
  }
}

class ShapeCall extends AdapterCall<ShapedRequest> {
  readonly wrapError = toDialectError;
  private readonly ctx: RequestContext;
  private readonly upstream: Upstream;
  private readonly options: CallOptions | undefined;
  private readonly schema: SchemaByHook['shape'];
  private readonly config: HotEngineConfig;
  private readonly request: ShapeRequest;
  private readonly baseUrl: URL | null;
  /** The names of the lines that were dropped from the answer; empty while no subscriber receives them. */
  private dropped: readonly string[] = [];

  constructor(
    version: Version<'shape'>,
    config: HotEngineConfig,
    request: ShapeRequest,
    baseUrl: URL | null,
    options: CallOptions | undefined,
    original: { readonly ctx: RequestContext; readonly upstream: Upstream },
  ) {
    super('shape', version, options, {
      principal: request.principal.id,
      maxAnswerBytes: config.wireBounds.outputBodyBytes,
      bodyBytes: request.body.length,
    });
    this.schema = version.schemas.shape;
    this.config = config;
    this.request = request;
    this.baseUrl = baseUrl;
    this.ctx = original.ctx;
    this.upstream = original.upstream;
    this.options = options;
  }

  forVersion(version: Version<'shape'>): ShapeCall {
    const schema = version.schemas.shape;
    const { config, baseUrl, options } = this;
    const principal = principalFor(this.request.principal, this.schema.oauthPrincipalKind, schema.oauthPrincipalKind);
    return new ShapeCall(version, config, { ...this.request, principal }, baseUrl, options, {
      ctx: this.ctx,
      upstream: this.upstream,
    });
  }

  unenforced(): ShapedRequest {
    const request = passThroughRequest(this.ctx, this.upstream);
    if (request !== null) return request;
    throw new InvalidArgumentError('upstream.baseUrl', 'a monitored shape needs it, and the path to stay below it');
  }

  encode(scratch: CallScratch): void {
    encodeMessage(this.schema.request, this.request, scratch);
  }

  decode(encoded: EncodedBytes): ShapedRequest {
    const { shapeOriginPolicy, wireBounds } = this.config;
    const repeated = this.options?.sharesBody === true ? this.request.body : null;
    const memory = this.bodyMemory(this.options, repeated);
    const answer = decodeAnswer(this.schema.response, encoded, headerLimits(wireBounds), memory);
    const shaped = shapedRequest(answer, this.baseUrl, { originPolicy: shapeOriginPolicy, bounds: wireBounds });
    if (areDroppedHeadersWatched()) this.dropped = droppedByShape(answer.headers);
    return shaped;
  }

  override breaksRule({ method }: ShapedRequest): boolean {
    return !isForwardedMethod(method, this.request.method);
  }

  override answered(): void {
    if (this.dropped.length > 0) publishDroppedHeaders(this, this.dropped);
  }
}
