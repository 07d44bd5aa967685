/** Filter plugins: select the candidates that may serve a request. */
import type { AsyncCallOptions, CallOptions } from '../call-options.ts';
import type { HotEngineConfig } from '../config.ts';
import { encodeMessage } from '../dispatch/encode.ts';
import type { CallScratch } from '../dispatch/scratch.ts';
import { FilterError, GuestTrapError, InvalidArgumentError } from '../errors.ts';
import { filterLimits } from '../policy/bounds.ts';
import { namesCandidatesOnce } from '../policy/chain-rules.ts';
import { filterOutput } from '../policy/decision.ts';
import { requestHeaders } from '../policy/headers.ts';
import type { WasmtimeRuntime } from '../runtime.ts';
import type { SlotKey } from '../slot-key.ts';
import type { PluginSlot } from '../slots.ts';
import type { FilterOutput, Principal, RequestContext, UpstreamCandidate } from '../types.ts';
import { recurringUuid } from '../uuid.ts';
import { checkArray, checkObject } from '../validate.ts';
import type { Version } from '../versions.ts';
import { decodeAnswer, type EncodedBytes } from '../wire/decode.ts';
import type { FilterRequest } from '../wire/messages/filter.ts';
import type { SchemaByHook } from '../wire/schemas.ts';
import { Adapter, FollowedKey } from './adapter.ts';
import { AdapterCall } from './adapter-call.ts';
import type { WrapError } from './hook-error.ts';
import { bodyOf, principalFor, principalValue } from './values.ts';

const toFilterError: WrapError = (fault, context) =>
  new FilterError(
    fault instanceof GuestTrapError ? 'trap' : 'runtime',
    `filter plugin failed: ${fault.message}`,
    context,
  );

/** A filter plugin of a slot. */
export class WasmtimeFilterPlugin extends Adapter<'filter'> {
  /**
   * Creates an adapter that is pinned to the current version of `slot`. Throws ModuleRejected for a slot of another
   * kind, SlotNotFound for an evicted one, InvalidArgument for anything else, and Closed.
   */
  constructor(runtime: WasmtimeRuntime, slot: PluginSlot | FollowedKey) {
    super('filter', runtime, slot);
  }

  /**
   * Creates an adapter that uses the current version of the slot at each call. A missing slot is a failure of the call.
   * Throws InvalidArgument for anything but a key, and Closed.
   */
  static follow(runtime: WasmtimeRuntime, key: SlotKey): WasmtimeFilterPlugin {
    return new WasmtimeFilterPlugin(runtime, new FollowedKey(key));
  }

  /**
   * Calls the plugin, which selects the candidates to keep. The call blocks this thread for at most the deadline.
   * Throws FilterError for a failure of the plugin, InvalidArgument for invalid arguments, and Closed.
   */
  filter(
    ctx: RequestContext,
    principal: Principal,
    candidates: readonly UpstreamCandidate[],
    options?: CallOptions,
  ): FilterOutput {
    return this.inline(this.#call(ctx, principal, candidates, options));
  }

  /** The asynchronous form of `filter`, on the thread that `options.where` selects. Rejects as `filter` throws. */
  async filterAsync(
    ctx: RequestContext,
    principal: Principal,
    candidates: readonly UpstreamCandidate[],
    options?: AsyncCallOptions,
  ): Promise<FilterOutput> {
    return this.anywhere(this.#call(ctx, principal, candidates, options), options);
  }

  #call(
    ctx: RequestContext,
    principal: Principal,
    candidates: readonly UpstreamCandidate[],
    options: CallOptions | undefined,
  ): FilterCall {
    checkObject(ctx, 'ctx');
    const version = this.versionFor('filter', toFilterError);
    const { config } = this.core;
    const sent: string[] = [];
    // Not a spread of fields that shapes have too: objects that a spread creates are encoded at half the speed.
    const request = {
      requestId: ctx.requestId,
      threadId: ctx.threadId,
      serviceTier: ctx.serviceTier,
      canonicalModelId: ctx.canonicalModelId,
      cachePricing: ctx.cachePricing,
      method: ctx.method,
      path: ctx.path,
      query: ctx.query,
      headers: requestHeaders(ctx.headers, config),
      body: bodyOf(ctx.body),
      principal: principalValue(principal, version.schemas.filter.oauthPrincipalKind),
      candidates: canonical(candidates, sent),
    };
    return new FilterCall(version, config, request, sent, options);
  }
}

class FilterCall extends AdapterCall<FilterOutput> {
  readonly wrapError = toFilterError;
  private readonly config: HotEngineConfig;
  private readonly options: CallOptions | undefined;
  private readonly schema: SchemaByHook['filter'];
  private readonly request: FilterRequest;
  private readonly sent: readonly string[];

  constructor(
    version: Version<'filter'>,
    config: HotEngineConfig,
    request: FilterRequest,
    sent: readonly string[],
    options: CallOptions | undefined,
  ) {
    super('filter', version, options, {
      principal: request.principal.id,
      maxAnswerBytes: config.wireBounds.outputBodyBytes,
      bodyBytes: request.body.length,
    });
    this.schema = version.schemas.filter;
    this.config = config;
    this.options = options;
    this.request = request;
    this.sent = sent;
  }

  encode(scratch: CallScratch): void {
    encodeMessage(this.schema.request, this.request, scratch);
  }

  decode(encoded: EncodedBytes): FilterOutput {
    const { wireBounds } = this.config;
    // More results than candidates repeat an id or name an unknown one. The chain reports which.
    const limits = filterLimits(this.sent.length, wireBounds);
    const { results } = decodeAnswer(this.schema.response, encoded, limits);
    return filterOutput(results, wireBounds, this.sent);
  }

  override breaksRule(answer: FilterOutput): boolean {
    return !namesCandidatesOnce(answer, this.sent);
  }

  forVersion(version: Version<'filter'>): FilterCall {
    const schema = version.schemas.filter;
    const principal = principalFor(this.request.principal, this.schema.oauthPrincipalKind, schema.oauthPrincipalKind);
    return new FilterCall(version, this.config, { ...this.request, principal }, this.sent, this.options);
  }

  unenforced(): FilterOutput {
    return { keptUpstreamIds: this.sent, reason: '', perCandidateReasons: [] };
  }
}

/**
 * Returns the candidates with canonical ids, which `sent` receives. A list whose ids are already canonical is returned
 * unchanged.
 */
function canonical(candidates: readonly UpstreamCandidate[], sent: string[]): readonly UpstreamCandidate[] {
  checkArray(candidates, 'candidates');
  let copy: UpstreamCandidate[] | undefined;
  for (let index = 0; index < candidates.length; index++) {
    const candidate = candidates[index];
    const given: unknown = candidate?.upstreamId;
    const id = canonicalId(given, index);
    sent.push(id);
    if (id !== given || copy !== undefined) {
      copy ??= candidates.slice(0, index);
      copy.push(withId(candidate!, id));
    }
  }
  return copy ?? candidates;
}

/** Copies a candidate with its canonical id. The fields may be getters of a class. */
function withId(candidate: UpstreamCandidate, upstreamId: string): UpstreamCandidate {
  const { name, kind, observedAtUnixSecs, predictedCacheReadTokens } = candidate;
  const { predictedCacheCreationTokens5m, predictedCacheCreationTokens1h, predictedUncachedInputTokens } = candidate;
  const { planCapacityRatio, organizationType, rateLimitTier, seatTier } = candidate;
  const plan = { planCapacityRatio, organizationType, rateLimitTier, seatTier };
  const predictions = {
    predictedCacheReadTokens,
    predictedCacheCreationTokens5m,
    predictedCacheCreationTokens1h,
    predictedUncachedInputTokens,
  };
  return { upstreamId, name, kind, observedAtUnixSecs, ...predictions, ...plan } as UpstreamCandidate;
}

/** Returns an id in canonical form: the same string if it has that form. */
function canonicalId(id: unknown, index: number): string {
  const canonical = recurringUuid(id, index);
  if (canonical === null) throw new InvalidArgumentError(`candidates[${index}].upstreamId`, 'expected a UUID');
  return canonical;
}
