/** Shape plugins: what goes to the upstream, and what becomes of its response. */
import { areDroppedHeadersWatched, publishDroppedHeaders } from '../diagnostics.ts';
import { DialectError } from '../errors.ts';
import { shapedRequest } from '../policy/decision.ts';
import { droppedByShape, requestHeaders } from '../policy/headers.ts';
import type { WasmtimeRuntime } from '../runtime.ts';
import type { SlotKey } from '../slot-key.ts';
import type { Cell, PluginSlot } from '../slots.ts';
import type {
  HookKind,
  Principal,
  RequestContext,
  ShapedRequest,
  TransformResponseInput,
  TransformResponseOutput,
  TransformSseEventInput,
  TransformSseEventOutput,
  Upstream,
} from '../types.ts';
import { decodeAnswer } from '../wire/decode.ts';
import {
  Adapter,
  type AsyncCallOptions,
  type CallOptions,
  callAnywhere,
  callInline,
  checkObject,
  followed,
  type PreparedCall,
  type TellFault,
  targetOf,
  told,
} from './adapter.ts';
import { encodeMessage } from './call.ts';
import { prepareResponse, prepareSseEvent, tellTransform } from './transform.ts';
import { bodyOf, keep, principalValue, upstreamUrl } from './values.ts';

const tell: TellFault = (fault, context) => new DialectError(`shape plugin failed: ${fault.message}`, context);

/** A shape plugin of a slot, and the transforms that belong to it. */
export class WasmtimeUpstreamDialect extends Adapter {
  /**
   * Pinned to the version that `slot` has now. Throws ModuleRejected for a slot of another kind, SlotNotFound for an
   * evicted one, InvalidArgument for anything else, and Closed.
   */
  constructor(runtime: WasmtimeRuntime, slot: PluginSlot) {
    super('shape', runtime, slot);
  }

  /**
   * One that takes the slot's version of the moment at each call; an absent slot is a failure of that call.
   * Throws InvalidArgument for anything but a key, and Closed.
   */
  static follow(runtime: WasmtimeRuntime, key: SlotKey): WasmtimeUpstreamDialect {
    return new WasmtimeUpstreamDialect(runtime, followed(key));
  }

  /**
   * Lets the plugin write the request for `upstream`. The call runs on this thread, for at most the deadline.
   * Throws DialectError for whatever the plugin does wrong, InvalidArgument for bad arguments, and Closed.
   */
  shape(ctx: RequestContext, upstream: Upstream, principal: Principal, options?: CallOptions): ShapedRequest {
    return callInline(this.runtime, 'shape', () => this.#prepare(ctx, upstream, principal, options), tell);
  }

  /** The same as a promise, on the thread that `options.where` says. Rejects as `shape` throws. */
  async shapeAsync(
    ctx: RequestContext,
    upstream: Upstream,
    principal: Principal,
    options?: AsyncCallOptions,
  ): Promise<ShapedRequest> {
    const prepare = () => this.#prepare(ctx, upstream, principal, options);
    return callAnywhere(this.runtime, 'shape', prepare, tell, options);
  }

  /**
   * Lets the plugin change a whole response. A plugin without the hook, or with it in noop mode, is not called.
   * Throws ResponseTransformError for whatever the plugin does wrong, InvalidArgument for bad arguments, and Closed.
   */
  transformResponse(input: TransformResponseInput, options?: CallOptions): TransformResponseOutput {
    checkObject(input, 'input');
    const cell = this.#transformCell('transform_response');
    if (!cell.editions.transform_response) return { kind: 'unchanged' };
    const prepare = () => prepareResponse(this.runtime, cell, input, options);
    return callInline(this.runtime, 'transform_response', prepare, tellTransform);
  }

  /** The same as a promise, on the thread that `options.where` says. Rejects as `transformResponse` throws. */
  async transformResponseAsync(
    input: TransformResponseInput,
    options?: AsyncCallOptions,
  ): Promise<TransformResponseOutput> {
    checkObject(input, 'input');
    const cell = this.#transformCell('transform_response');
    if (!cell.editions.transform_response) return { kind: 'unchanged' };
    const prepare = () => prepareResponse(this.runtime, cell, input, options);
    return callAnywhere(this.runtime, 'transform_response', prepare, tellTransform, options);
  }

  /** Lets the plugin change one event of a stream; otherwise like `transformResponse`. */
  transformSseEvent(input: TransformSseEventInput, options?: CallOptions): TransformSseEventOutput {
    checkObject(input, 'input');
    const cell = this.#transformCell('transform_sse_event');
    if (!cell.editions.transform_sse_event) return { kind: 'unchanged' };
    const prepare = () => prepareSseEvent(this.runtime, cell, input, options);
    return callInline(this.runtime, 'transform_sse_event', prepare, tellTransform);
  }

  /** The same as a promise, on the thread that `options.where` says. Rejects as `transformSseEvent` throws. */
  async transformSseEventAsync(
    input: TransformSseEventInput,
    options?: AsyncCallOptions,
  ): Promise<TransformSseEventOutput> {
    checkObject(input, 'input');
    const cell = this.#transformCell('transform_sse_event');
    if (!cell.editions.transform_sse_event) return { kind: 'unchanged' };
    const prepare = () => prepareSseEvent(this.runtime, cell, input, options);
    return callAnywhere(this.runtime, 'transform_sse_event', prepare, tellTransform, options);
  }

  /** The cell of a transform's call, which may lack the hook. */
  #transformCell(hook: HookKind): Cell {
    try {
      return this.cell();
    } catch (error) {
      throw told(error, hook, tellTransform);
    }
  }

  #prepare(
    ctx: RequestContext,
    upstream: Upstream,
    principal: Principal,
    options: CallOptions | undefined,
  ): PreparedCall<ShapedRequest> {
    checkObject(ctx, 'ctx');
    const cell = this.cell();
    const edition = cell.editions.shape!;
    const { wireBounds, cookieRedaction, shapeOriginPolicy } = this.runtime.dispatcher.config;
    const baseUrl = upstreamUrl(upstream);
    const request = {
      requestId: ctx.requestId,
      method: ctx.method,
      path: ctx.path,
      query: ctx.query,
      headers: requestHeaders(ctx.headers, { cookieRedaction }),
      body: bodyOf(ctx.body),
      principal: principalValue(principal, edition.oauthPrincipalKind),
      upstream: { baseUrl: baseUrl === null ? null : baseUrl.href },
    };
    const target = targetOf(cell, 'shape', options, request.principal.id, wireBounds.outputBodyBytes);
    return {
      target,
      encode: encodeMessage(edition.request, request),
      read: (bytes, owned) => {
        const answer = decodeAnswer(edition.response, bytes);
        const shaped = shapedRequest(answer, baseUrl, { originPolicy: shapeOriginPolicy, bounds: wireBounds });
        const request = { ...shaped, body: keep(shaped.body, owned) };
        if (areDroppedHeadersWatched()) publishDroppedHeaders(target, droppedByShape(answer.headers));
        return request;
      },
      bytes: request.body.length,
    };
  }
}
