/** A state of the routes for requests. */
import { hash } from 'node:crypto';
import {
  type ObserveStage,
  PluginChain,
  type PluginSlot,
  type Principal,
  type SlotKey,
  WasmtimeFilterPlugin,
  WasmtimeObservabilityHook,
  type WasmtimeRuntime,
  WasmtimeUpstreamDialect,
} from 'cc-lb-runtime-wasmtime';
import type { CacheLedger } from './cache-ledger.ts';
import type { Prompt } from './prompt.ts';
import type { PrincipalRoute, Routes, UpstreamRoute } from './routes.ts';
import type { Upstream, Upstreams } from './upstream.ts';

/** The plugins of one principal's requests. */
export interface Plugins {
  readonly chain: PluginChain;
  readonly hasFilters: boolean;
  readonly hasObservers: boolean;
  readonly hasShape: boolean;
  readonly transformsResponses: boolean;
  readonly transformsEvents: boolean;
}

/** An upstream and its route. */
export interface Target {
  readonly route: UpstreamRoute;
  readonly upstream: Upstream;
}

/** Returns targets as filters receive them, with the predictions for a prompt. */
export function candidatesOf(targets: readonly Target[], ledger: CacheLedger, prompt: Prompt) {
  const observedAtUnixSecs = Math.floor(Date.now() / 1_000);
  return targets.map(({ route: { id, name } }) => ({
    upstreamId: id,
    name,
    kind: 'anthropic_api_key',
    observedAtUnixSecs,
    predictedCacheReadTokens: ledger.predict(id, prompt),
  }));
}

/** A state of the routes. A request uses one view and is not affected by swaps. */
export class View {
  readonly routes: Routes;
  readonly keys: readonly SlotKey[];
  readonly targets: readonly Target[];
  readonly #principals: ReadonlyMap<string, PrincipalRoute>;
  readonly #global: Plugins;
  readonly #byPrincipal = new Map<string, Plugins>();
  #first = 0;

  /** `slots` are those of `routes.plugins`, in their order; `observers` get every event after the plugins. */
  constructor(
    runtime: WasmtimeRuntime,
    routes: Routes,
    slots: readonly PluginSlot[],
    upstreams: Upstreams,
    observers: readonly ObserveStage[],
  ) {
    this.routes = routes;
    this.targets = routes.upstreams.map((route) => ({ route, upstream: upstreams.get(route) }));
    this.keys = slots.map(({ key }) => key);
    this.#principals = new Map(routes.principals.map((principal) => [principal.keySha256, principal]));
    const slotsOf = (owner: string | undefined) => slots.filter((_, i) => routes.plugins[i]!.principal === owner);
    const globalSlots = slotsOf(undefined);
    this.#global = pluginsOf(runtime, globalSlots, observers);
    for (const { principal } of routes.plugins) {
      if (principal === undefined || this.#byPrincipal.has(principal)) continue;
      this.#byPrincipal.set(principal, pluginsOf(runtime, [...globalSlots, ...slotsOf(principal)], observers));
    }
  }

  /**
   * Returns the principal of a key; undefined for an unknown or empty key. The lookup uses its hash, so that the time
   * does not depend on the key.
   */
  principalOf(key: string): PrincipalRoute | undefined {
    if (key === '') return undefined;
    return this.#principals.get(hash('sha256', Buffer.from(key, 'latin1')));
  }

  /** Returns the principal of an id. */
  principal(id: string): PrincipalRoute | undefined {
    return this.routes.principals.find((principal) => principal.id === id);
  }

  /**
   * Returns the upstreams that admit a request of a principal, rotated for each call, because filters keep the first of
   * equal ones.
   */
  inTurn(principal: string): Target[] {
    const { targets } = this;
    if (++this.#first >= targets.length) this.#first = 0;
    const turn: Target[] = [];
    for (let i = 0; i < targets.length; i++) {
      const target = targets[(this.#first + i) % targets.length]!;
      if (target.upstream.admits(principal)) turn.push(target);
    }
    return turn;
  }

  /** Returns the plugins of a principal; without one, the global ones. */
  pluginsOf(principal: Principal | undefined): Plugins {
    return (principal && this.#byPrincipal.get(principal.id)) ?? this.#global;
  }
}

/**
 * Creates adapters that are pinned to the current version of their slot, because a later swap is for a later view.
 */
function pluginsOf(
  runtime: WasmtimeRuntime,
  slots: readonly PluginSlot[],
  observers: readonly ObserveStage[],
): Plugins {
  const ofKind = (kind: PluginSlot['kind']) => slots.filter((slot) => slot.kind === kind);
  const shape = ofKind('shape').at(-1);
  const dialect = shape && new WasmtimeUpstreamDialect(runtime, shape);
  const filters = ofKind('filter').map((slot) => new WasmtimeFilterPlugin(runtime, slot));
  const observing = [...ofKind('observe').map((slot) => new WasmtimeObservabilityHook(runtime, slot)), ...observers];
  const { transform_response, transform_sse_event } = shape?.current.metadata.hooks ?? {};
  return {
    chain: new PluginChain({ filters, shape: dialect, observers: observing }),
    hasFilters: filters.length > 0,
    hasObservers: observing.length > 0,
    hasShape: shape !== undefined,
    transformsResponses: transform_response?.mode === 'active',
    transformsEvents: transform_sse_event?.mode === 'active',
  };
}
