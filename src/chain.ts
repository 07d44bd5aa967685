import * as z from 'zod';
import type { AsyncCallOptions, CallOptions } from './call-options.ts';
import { failurePolicySchema } from './config.ts';
import { isAbort } from './dispatch/abort.ts';
import { DialectError, InvalidArgumentError, type ObservabilityError, type WasmtimeRuntimeError } from './errors.ts';
import { type FilterOutcome, FilterRun, type FilterStage } from './filter-run.ts';
import { isForwardedMethod } from './policy/chain-rules.ts';
import type { PluginFailurePolicy } from './policy/failure.ts';
import { towardsUpstream } from './policy/framing.ts';
import { passThroughRequest, rereadableRequest } from './policy/pass-through-request.ts';
import { pluginFailed, pluginFailureOrThrow, type Unavailable } from './policy/unavailable.ts';
import { quoted } from './printable.ts';
import {
  type EventsOutcome,
  isEventStage,
  isResponseStage,
  type ResponseOutcome,
  resolveEvents,
  resolveResponse,
  resolveResponseAsync,
} from './response.ts';
import type { SseTransformerOptions } from './sse/transformer.ts';
import type {
  ObserveEvent,
  Principal,
  RequestContext,
  ShapedRequest,
  TransformContext,
  TransformResponseInput,
  Upstream,
  UpstreamCandidate,
} from './types.ts';
import { checkArray, parseArgument } from './validate.ts';

/** The part of a shape that the chain uses; `WasmtimeUpstreamDialect` implements it. */
export interface ShapeStage {
  /** The plugin's name, for reports. */
  readonly pluginName: string;
  /** What happens to the request when the shape fails. */
  readonly failurePolicy: PluginFailurePolicy;
  /** Shapes on the calling thread; see `WasmtimeUpstreamDialect.shape`. */
  shape(ctx: RequestContext, upstream: Upstream, principal: Principal, options?: CallOptions): ShapedRequest;
  /** The asynchronous form of `shape`, which may run on another thread. */
  shapeAsync(
    ctx: RequestContext,
    upstream: Upstream,
    principal: Principal,
    options?: AsyncCallOptions,
  ): Promise<ShapedRequest>;
  /** Called when a request is passed through after the plugin failed. */
  countPassThrough?(): void;
}

/** The part of an observer that the chain uses; `WasmtimeObservabilityHook` implements it. */
export interface ObserveStage {
  /** Observes on the calling thread; see `WasmtimeObservabilityHook.observe`. */
  observe(event: ObserveEvent, options?: CallOptions): ObservabilityError | undefined;
  /** The asynchronous form of `observe`, which may run on another thread. */
  observeAsync(event: ObserveEvent, options?: AsyncCallOptions): Promise<ObservabilityError | undefined>;
  /** Queues the event. Returns false if it was dropped. Without this method, `observeAsync` is called. */
  observeQueued?(event: ObserveEvent, options?: CallOptions): boolean;
}

/** The outcome of the shape: a request to send, in the form of `towardsUpstream`, or the reason to send none. */
export type ShapeOutcome =
  | {
      /** The plugin wrote the request. */
      readonly kind: 'shaped';
      /** The request for the upstream. */
      readonly request: ShapedRequest;
    }
  | {
      /** The chain has no shape, or the shape failed under `pass-through`. */
      readonly kind: 'passed-through';
      /** The client's request, addressed to the upstream, without credentials and hop-by-hop headers. */
      readonly request: ShapedRequest;
      /** The failure of the shape; absent without a shape. */
      readonly error?: WasmtimeRuntimeError;
    }
  | Unavailable;

/** Rejects unknown fields: a misspelled one would silently omit its plugins. The stages are checked separately. */
const chainOptionsSchema = z
  .strictObject({
    /** Called in order, each with the candidates that the earlier ones kept. */
    filters: z.custom<readonly FilterStage[]>(() => true).optional(),
    /** Writes the outbound request; without one every request passes through. */
    shape: z.custom<ShapeStage>(() => true).optional(),
    /** Called for each event of the lifecycle. */
    observers: z.custom<readonly ObserveStage[]>(() => true).optional(),
  })
  .readonly();

/** The plugins of a chain, in the order in which they are called. */
export interface PluginChainOptions extends z.input<typeof chainOptionsSchema> {}

/**
 * Calls the filters in order and then the shape, and enforces the failure policy of each plugin. Failed plugins become
 * outcomes. InvalidArgumentError, ClosedError, and the reason of an aborted signal are thrown unchanged.
 *
 * @example
 * ```js
 * import { PluginChain, SlotKey, WasmtimeFilterPlugin, WasmtimeRuntime } from 'cc-lb-runtime-wasmtime';
 *
 * const runtime = new WasmtimeRuntime({ pluginFailurePolicy: 'fail-closed' });
 * // The key has no slot, so that each call of the filter fails.
 * const filter = WasmtimeFilterPlugin.follow(runtime, SlotKey.global('absent'));
 * const chain = new PluginChain({ filters: [filter] });
 *
 * const request = { requestId: 'req-1', method: 'POST', path: '/v1/messages', headers: [], body: Buffer.from('{}') };
 * const outcome = await chain.filterAsync(request, { id: 'team-a', kind: 'api_key', claims: {} }, []);
 * console.log(outcome.kind); // → unavailable
 * ```
 */
export class PluginChain {
  readonly #filters: readonly FilterStage[];
  readonly #shape: ShapeStage | undefined;
  readonly #observers: readonly ObserveStage[];

  /** @throws InvalidArgumentError for an unknown field, or for a stage without a required method */
  constructor(options: PluginChainOptions) {
    const { filters = [], shape, observers = [] } = parseArgument(chainOptionsSchema, options, 'options');
    this.#filters = checkedStages(filters, 'filters', ['filter', 'filterAsync'], true);
    this.#observers = checkedStages(observers, 'observers', ['observe', 'observeAsync'], false);
    if (shape !== undefined) checkStage(shape, 'shape', ['shape', 'shapeAsync'], true);
    this.#shape = shape;
  }

  /** Calls each filter with the candidates that the previous ones kept. */
  filter(
    ctx: RequestContext,
    principal: Principal,
    candidates: readonly UpstreamCandidate[],
    options?: CallOptions,
  ): FilterOutcome {
    const run = new FilterRun(candidates);
    const request = rereadableRequest(ctx);
    for (const stage of this.#filters) {
      if (run.isFinished) break;
      // Before the call: afterwards, a followed slot may be absent or have another version.
      const { failurePolicy } = stage;
      try {
        run.take(stage, stage.filter(request, principal, run.survivors, options));
      } catch (error) {
        run.fail(stage, failurePolicy, error);
      }
    }
    return run.outcome();
  }

  /**
   * The asynchronous form of `filter`, which may run on another thread. Rejects with `signal.reason` on abort. Each
   * filter gets its own copy of the body when it is called, so the body must not change before all filters are called.
   */
  async filterAsync(
    ctx: RequestContext,
    principal: Principal,
    candidates: readonly UpstreamCandidate[],
    options?: AsyncCallOptions,
  ): Promise<FilterOutcome> {
    const run = new FilterRun(candidates);
    const request = rereadableRequest(ctx);
    for (const stage of this.#filters) {
      if (run.isFinished) break;
      const { failurePolicy } = stage;
      try {
        run.take(stage, await stage.filterAsync(request, principal, run.survivors, options));
      } catch (error) {
        if (isAbort(error, options?.signal)) throw error;
        run.fail(stage, failurePolicy, error);
      }
    }
    return run.outcome();
  }

  /**
   * Calls the shape, which writes the request for the upstream. A shape has failed if it answers with the method CONNECT,
   * TRACE or TRACK, or with HEAD for a client's request with another method. A chain without a shape passes every request
   * through.
   */
  shape(ctx: RequestContext, upstream: Upstream, principal: Principal, options?: CallOptions): ShapeOutcome {
    const request = rereadableRequest(ctx);
    if (this.#shape === undefined) return unshaped(request, upstream);
    const { failurePolicy } = this.#shape;
    try {
      return shapedBy(this.#shape, request, this.#shape.shape(request, upstream, principal, options));
    } catch (error) {
      return afterFailedShape(this.#shape, failurePolicy, error, request, upstream);
    }
  }

  /** The asynchronous form of `shape`, which may run on another thread. Rejects with `signal.reason` on abort. */
  async shapeAsync(
    ctx: RequestContext,
    upstream: Upstream,
    principal: Principal,
    options?: AsyncCallOptions,
  ): Promise<ShapeOutcome> {
    const request = rereadableRequest(ctx);
    if (this.#shape === undefined) return unshaped(request, upstream);
    const { failurePolicy } = this.#shape;
    try {
      return shapedBy(this.#shape, request, await this.#shape.shapeAsync(request, upstream, principal, options));
    } catch (error) {
      if (isAbort(error, options?.signal)) throw error;
      return afterFailedShape(this.#shape, failurePolicy, error, request, upstream);
    }
  }

  /**
   * Transforms a complete response under the failure policy of the shape, which applies to an encoded body too. A chain
   * without a transform passes every response through.
   */
  transformResponse(input: TransformResponseInput, options?: CallOptions): ResponseOutcome {
    if (!isResponseStage(this.#shape)) return { kind: 'passed-through' };
    return resolveResponse(this.#shape, input, options);
  }

  /**
   * The asynchronous form of `transformResponse`, which may run on another thread. Rejects with `signal.reason` on
   * abort.
   */
  async transformResponseAsync(input: TransformResponseInput, options?: AsyncCallOptions): Promise<ResponseOutcome> {
    if (!isResponseStage(this.#shape)) return { kind: 'passed-through' };
    return resolveResponseAsync(this.#shape, input, options);
  }

  /**
   * Opens the transform of a stream's events under the failure policy of the shape. Call it before the client's headers
   * are sent: a stream that cannot be transformed, for example because it is encoded, is passed through unchanged or is
   * unavailable. A chain without a transform passes every stream through.
   */
  transformEvents(context: TransformContext, options?: SseTransformerOptions): EventsOutcome {
    if (!isEventStage(this.#shape)) return { kind: 'passed-through' };
    return resolveEvents(this.#shape, context, options);
  }

  /** Reports the event to every observer; returns their failures, which do not affect the request. */
  observe(event: ObserveEvent, options?: CallOptions): readonly ObservabilityError[] {
    const errors: ObservabilityError[] = [];
    for (const observer of this.#observers) {
      const error = observer.observe(event, options);
      if (error !== undefined) errors.push(error);
    }
    return errors;
  }

  /**
   * Queues the event for every observer, outside the request path, and returns how many dropped it. Failures are
   * counted in the slots' status. `drain()` of the runtime waits for queued events.
   */
  observeQueued(event: ObserveEvent, options?: CallOptions): number {
    let dropped = 0;
    for (const observer of this.#observers) {
      if (observer.observeQueued === undefined) observer.observeAsync(event, options).catch(() => {});
      else if (!observer.observeQueued(event, options)) dropped++;
    }
    return dropped;
  }

  /** The asynchronous form of `observe`, which may run on another thread. */
  async observeAsync(event: ObserveEvent, options?: AsyncCallOptions): Promise<readonly ObservabilityError[]> {
    const errors = await Promise.all(this.#observers.map((observer) => observer.observeAsync(event, options)));
    return errors.filter((error) => error !== undefined);
  }
}

function shapedBy(stage: ShapeStage, client: RequestContext, request: ShapedRequest): ShapeOutcome {
  if (!isForwardedMethod(request.method, client.method)) {
    const problem = `a request with the method ${quoted(request.method)} is not forwarded for ${quoted(client.method)}`;
    throw new DialectError('unsupported-request', problem, { plugin: stage.pluginName, hook: 'shape' });
  }
  return { kind: 'shaped', request: towardsUpstream(request) };
}

function afterFailedShape(
  stage: ShapeStage,
  policy: PluginFailurePolicy,
  error: unknown,
  ctx: RequestContext,
  upstream: Upstream,
): ShapeOutcome {
  const failure = pluginFailureOrThrow(error);
  const request = policy === 'pass-through' ? passThroughRequest(ctx, upstream) : null;
  if (request !== null) stage.countPassThrough?.();
  return request === null
    ? pluginFailed(failure)
    : { kind: 'passed-through', request: towardsUpstream(request), error: failure };
}

function unshaped(ctx: RequestContext, upstream: Upstream): ShapeOutcome {
  const request = passThroughRequest(ctx, upstream);
  if (request === null) {
    throw new InvalidArgumentError(
      'upstream.baseUrl',
      'a chain without a shape needs it, and the path to stay below it',
    );
  }
  return { kind: 'passed-through', request: towardsUpstream(request) };
}

function checkedStages<Stage>(
  stages: readonly Stage[],
  path: string,
  methods: readonly string[],
  hasPolicy: boolean,
): readonly Stage[] {
  checkArray(stages, path);
  for (const [index, stage] of stages.entries()) checkStage(stage, `${path}[${index}]`, methods, hasPolicy);
  return [...stages];
}

/** Throws an InvalidArgumentError unless the stage has these methods and, with `hasPolicy`, a failure policy. */
function checkStage(stage: unknown, path: string, methods: readonly string[], hasPolicy: boolean): void {
  const parts = stage as Record<string, unknown> | null | undefined;
  for (const method of methods) {
    if (typeof parts?.[method] !== 'function') {
      throw new InvalidArgumentError(path, `expected an object with ${methods.join(' and ')}`);
    }
  }
  if (hasPolicy) parseArgument(failurePolicySchema, parts?.failurePolicy, `${path}.failurePolicy`);
}
