import * as z from 'zod';
import { type AsyncCallOptions, type CallOptions, isAbort } from './adapters/adapter.ts';
import { failurePolicySchema } from './config.ts';
import { FilterError, InvalidArgumentError, type ObservabilityError, type WasmtimeRuntimeError } from './errors.ts';
import { type PluginFailurePolicy, unavailableResponse } from './policy/failure.ts';
import { passThroughRequest, rereadableRequest } from './policy/pass-through-request.ts';
import { pluginFailed, pluginFailureOrThrow, type Unavailable } from './policy/unavailable.ts';
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
  FilterOutput,
  ObserveEvent,
  Principal,
  RequestContext,
  ShapedRequest,
  TransformContext,
  TransformResponseInput,
  Upstream,
  UpstreamCandidate,
} from './types.ts';
import { recurringUuid } from './uuid.ts';
import { checkArray, parseArgument } from './validate.ts';

/** The part of a filter that the chain uses; `WasmtimeFilterPlugin` implements it. */
export interface FilterStage {
  /** The plugin's name, for reports. */
  readonly pluginName: string;
  /** What happens to the request when the filter fails. */
  readonly failurePolicy: PluginFailurePolicy;
  /** Filters on the calling thread; see `WasmtimeFilterPlugin.filter`. */
  filter(
    ctx: RequestContext,
    principal: Principal,
    candidates: readonly UpstreamCandidate[],
    options?: CallOptions,
  ): FilterOutput;
  /** The asynchronous form of `filter`, which may run on another thread. */
  filterAsync(
    ctx: RequestContext,
    principal: Principal,
    candidates: readonly UpstreamCandidate[],
    options?: AsyncCallOptions,
  ): Promise<FilterOutput>;
  /** Called when a request is passed through after the plugin failed. */
  countPassThrough?(): void;
}

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

/** The result of one filter: its verdict, or the error of the call. */
export type StageReport =
  | {
      /** The plugin's name. */
      readonly plugin: string;
      /** The filter's verdict. */
      readonly output: FilterOutput;
      /** Absent. */
      readonly error?: never;
    }
  | {
      /** The plugin's name. */
      readonly plugin: string;
      /** The plugin's failure. */
      readonly error: WasmtimeRuntimeError;
      /** Absent. */
      readonly output?: never;
    };

/** The candidates that every filter kept, in the caller's order; at least one. */
export interface Routed {
  /** Distinguishes the outcome. */
  readonly kind: 'candidates';
  /** The kept candidates, in the caller's order. */
  readonly candidates: readonly UpstreamCandidate[];
}

/** The outcome of all filters, with the result of each. */
export type FilterOutcome = (Routed | Unavailable) & {
  /** The result of each filter that was called, in their order. */
  readonly stages: readonly StageReport[];
};

/** The outcome of the shape: a request to send, or the reason to send none. */
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
      if (run.isOver) break;
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
      if (run.isOver) break;
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
   * Calls the shape, which writes the request for the upstream. A chain without a shape passes every request through.
   */
  shape(ctx: RequestContext, upstream: Upstream, principal: Principal, options?: CallOptions): ShapeOutcome {
    const request = rereadableRequest(ctx);
    if (this.#shape === undefined) return unshaped(request, upstream);
    const { failurePolicy } = this.#shape;
    try {
      return { kind: 'shaped', request: this.#shape.shape(request, upstream, principal, options) };
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
      return { kind: 'shaped', request: await this.#shape.shapeAsync(request, upstream, principal, options) };
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

/** The state of the candidates while the filters run. */
class FilterRun {
  survivors: readonly UpstreamCandidate[];
  /** The canonical ids of the kept candidates. */
  #ids: readonly string[];
  readonly #stages: StageReport[] = [];
  #stopped: Unavailable | undefined;

  constructor(candidates: readonly UpstreamCandidate[]) {
    checkArray(candidates, 'candidates');
    // Copied, because the caller may change its list while a filter runs.
    this.survivors = [...candidates];
    this.#ids = canonicalIds(this.survivors);
  }

  get isOver(): boolean {
    return this.#stopped !== undefined || this.survivors.length === 0;
  }

  take(stage: FilterStage, output: FilterOutput): void {
    const problem = this.#problemOf(output);
    if (problem !== null) {
      throw new FilterError('runtime', problem, { plugin: stage.pluginName, hook: 'filter' });
    }
    this.#stages.push({ plugin: stage.pluginName, output });
    if (output.keptUpstreamIds.length === this.#ids.length) return;
    const kept = new Set(output.keptUpstreamIds);
    this.survivors = this.survivors.filter((_, index) => kept.has(this.#ids[index]!));
    this.#ids = this.#ids.filter((id) => kept.has(id));
  }

  fail(stage: FilterStage, policy: PluginFailurePolicy, error: unknown): void {
    const failure = pluginFailureOrThrow(error);
    this.#stages.push({ plugin: stage.pluginName, error: failure });
    if (policy === 'fail-closed') this.#stopped = pluginFailed(failure);
    else stage.countPassThrough?.();
  }

  outcome(): FilterOutcome {
    const stages = this.#stages;
    if (this.#stopped !== undefined) return { ...this.#stopped, stages };
    if (this.survivors.length === 0) {
      return { kind: 'unavailable', code: 'route_no_upstream_after_filter', ...unavailableResponse(), stages };
    }
    return { kind: 'candidates', candidates: this.survivors, stages };
  }

  /** Returns why a verdict is invalid for the candidates of its filter; null if it is valid. */
  #problemOf({ keptUpstreamIds, perCandidateReasons }: FilterOutput): string | null {
    const unnamed = new Set(this.#ids);
    for (const id of keptUpstreamIds) if (!unnamed.delete(id)) return this.#problemOfId(id);
    for (const { upstreamId } of perCandidateReasons)
      if (!unnamed.delete(upstreamId)) return this.#problemOfId(upstreamId);
    return null;
  }

  #problemOfId(id: string): string {
    return this.#ids.includes(id)
      ? `the answer names upstream ${id} more than once`
      : `the answer names upstream ${id}, which is not one of the candidates`;
  }
}

function canonicalIds(candidates: readonly UpstreamCandidate[]): string[] {
  const ids: string[] = [];
  const seen = new Set<string>();
  for (let index = 0; index < candidates.length; index++) {
    const id = recurringUuid(candidates[index]?.upstreamId, index);
    if (id === null) throw new InvalidArgumentError(`candidates[${index}].upstreamId`, 'expected a UUID');
    if (seen.has(id)) {
      throw new InvalidArgumentError(`candidates[${index}].upstreamId`, 'another candidate has this id');
    }
    seen.add(id);
    ids.push(id);
  }
  return ids;
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
  return request === null ? pluginFailed(failure) : { kind: 'passed-through', request, error: failure };
}

function unshaped(ctx: RequestContext, upstream: Upstream): ShapeOutcome {
  const request = passThroughRequest(ctx, upstream);
  if (request === null) {
    throw new InvalidArgumentError(
      'upstream.baseUrl',
      'a chain without a shape needs it, and the path to stay below it',
    );
  }
  return { kind: 'passed-through', request };
}

function checkedStages<Stage>(
  stages: readonly Stage[],
  path: string,
  methods: readonly string[],
  decides: boolean,
): readonly Stage[] {
  checkArray(stages, path);
  for (const [index, stage] of stages.entries()) checkStage(stage, `${path}[${index}]`, methods, decides);
  return [...stages];
}

/** `decides`: the stage has a failure policy. */
function checkStage(stage: unknown, path: string, methods: readonly string[], decides: boolean): void {
  const parts = stage as Record<string, unknown> | null | undefined;
  for (const method of methods) {
    if (typeof parts?.[method] !== 'function') {
      throw new InvalidArgumentError(path, `expected an object with ${methods.join(' and ')}`);
    }
  }
  if (decides) parseArgument(failurePolicySchema, parts?.failurePolicy, `${path}.failurePolicy`);
}
