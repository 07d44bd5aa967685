/** The filters of a chain: what the chain calls, and the candidates while they run. */
import type { AsyncCallOptions, CallOptions } from './call-options.ts';
import { FilterError, InvalidArgumentError, type WasmtimeRuntimeError } from './errors.ts';
import { namesCandidatesOnce } from './policy/chain-rules.ts';
import type { PluginFailurePolicy } from './policy/failure.ts';
import { noUpstreamLeft, pluginFailed, pluginFailureOrThrow, type Unavailable } from './policy/unavailable.ts';
import type { FilterOutput, Principal, RequestContext, UpstreamCandidate } from './types.ts';
import { recurringUuid } from './uuid.ts';
import { checkArray } from './validate.ts';

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

/** The state of the candidates while the filters run. */
export class FilterRun {
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

  /** Whether no further filter is called: a fail-closed one failed, or no candidate is left. */
  get isFinished(): boolean {
    return this.#stopped !== undefined || this.survivors.length === 0;
  }

  /** Applies the verdict of a filter. Throws a FilterError for a verdict that breaks the rules of the chain. */
  take(stage: FilterStage, output: FilterOutput): void {
    if (!namesCandidatesOnce(output, this.#ids)) throw this.#misnaming(stage, output);
    this.#stages.push({ plugin: stage.pluginName, output });
    const kept = new Set(output.keptUpstreamIds);
    this.survivors = this.survivors.filter((_, index) => kept.has(this.#ids[index]!));
    this.#ids = this.#ids.filter((id) => kept.has(id));
  }

  /** Applies the failure policy of a filter. Rethrows an error to which no policy applies. */
  fail(stage: FilterStage, policy: PluginFailurePolicy, error: unknown): void {
    const failure = pluginFailureOrThrow(error);
    this.#stages.push({ plugin: stage.pluginName, error: failure });
    if (policy === 'fail-closed') this.#stopped = pluginFailed(failure);
    else stage.countPassThrough?.();
  }

  /** Returns the outcome of the filters that were called. */
  outcome(): FilterOutcome {
    const stages = this.#stages;
    if (this.#stopped !== undefined) return { ...this.#stopped, stages };
    if (this.survivors.length === 0) return { ...noUpstreamLeft(), stages };
    return { kind: 'candidates', candidates: this.survivors, stages };
  }

  /** Returns the failure of a filter whose verdict names another upstream than the candidates, or one more than once. */
  #misnaming({ pluginName }: FilterStage, { keptUpstreamIds, perCandidateReasons }: FilterOutput): FilterError {
    const unnamed = new Set(this.#ids);
    const named = [...keptUpstreamIds, ...perCandidateReasons.map(({ upstreamId }) => upstreamId)];
    const id = named.find((each) => !unnamed.delete(each))!;
    const problem = this.#ids.includes(id) ? ' more than once' : ', which is not one of the candidates';
    const context = { plugin: pluginName, hook: 'filter' } as const;
    return new FilterError('runtime', `the answer names upstream ${id}${problem}`, context);
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
