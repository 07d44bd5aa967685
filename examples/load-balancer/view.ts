/** One state of the routes, as requests see it. */
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
import type { PrincipalRoute, Routes, UpstreamRoute } from './routes.ts';
import type { Upstream, Upstreams } from './upstream.ts';

/** The plugins that one principal's requests pass through. */
export interface Plugins {
  readonly chain: PluginChain;
  readonly hasFilters: boolean;
  readonly hasObservers: boolean;
  /** The shape plugin, where there is one. */
  readonly dialect: WasmtimeUpstreamDialect | undefined;
  readonly transformsResponses: boolean;
  readonly transformsEvents: boolean;
}

/** An upstream and what its route says. */
export interface Target {
  readonly route: UpstreamRoute;
  readonly upstream: Upstream;
}

/** One state of the routes. A request that keeps it sees no swap. */
export class View {
  readonly routes: Routes;
  readonly keys: readonly SlotKey[];
  readonly targets: readonly Target[];
  readonly #principals: ReadonlyMap<string, PrincipalRoute>;
  readonly #everybodys: Plugins;
  readonly #own = new Map<string, Plugins>();
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
    const everybodys = slotsOf(undefined);
    this.#everybodys = pluginsOf(runtime, everybodys, observers);
    for (const { principal } of routes.plugins) {
      if (principal === undefined || this.#own.has(principal)) continue;
      this.#own.set(principal, pluginsOf(runtime, [...everybodys, ...slotsOf(principal)], observers));
    }
  }

  /** Whose key it is; undefined is nobody's. Looked up by its hash, so that the time it takes says nothing about it. */
  principalOf(key: string): PrincipalRoute | undefined {
    return this.#principals.get(hash('sha256', Buffer.from(key, 'latin1')));
  }

  /** The principal of an id. */
  principal(id: string): PrincipalRoute | undefined {
    return this.routes.principals.find((principal) => principal.id === id);
  }

  /** The upstreams whose breakers admit a request, each time beginning with the next one: filters keep the first of equals. */
  inTurn(): Target[] {
    const { targets } = this;
    if (++this.#first >= targets.length) this.#first = 0;
    const turn: Target[] = [];
    for (let i = 0; i < targets.length; i++) {
      const target = targets[(this.#first + i) % targets.length]!;
      if (target.upstream.breaker.admits) turn.push(target);
    }
    return turn;
  }

  /** The plugins of a principal; of nobody, everybody's. */
  pluginsOf(principal: Principal | undefined): Plugins {
    return (principal && this.#own.get(principal.id)) ?? this.#everybodys;
  }
}

/** Adapters are pinned to the version that their slot has now: a later swap is for a later view. */
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
    dialect,
    transformsResponses: transform_response?.mode === 'active',
    transformsEvents: transform_sse_event?.mode === 'active',
  };
}
