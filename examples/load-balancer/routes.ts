/** What the load balancer serves: upstreams, principals and plugins, and the view that requests see of them. */
import { createHash } from 'node:crypto';
import {
  type ObserveStage,
  PluginChain,
  type PluginSlot,
  type Principal,
  SlotKey,
  WasmtimeFilterPlugin,
  WasmtimeObservabilityHook,
  type WasmtimeRuntime,
  WasmtimeUpstreamDialect,
} from 'cc-lb-runtime-wasmtime';

/** A server that answers requests. */
export interface UpstreamRoute {
  /** A UUID. */
  readonly id: string;
  readonly name: string;
  readonly baseUrl: string;
  /** Sent as x-api-key in place of the client's. */
  readonly apiKey?: string | undefined;
}

/** Somebody who may send requests. */
export interface PrincipalRoute extends Principal {
  /** SHA-256 of the principal's key in lower-case hex: the key itself need not be kept. */
  readonly keySha256: string;
}

/** A plugin and whom it serves. */
export interface PluginRoute {
  readonly kind: 'filter' | 'shape' | 'observe';
  readonly name: string;
  readonly bytes: Uint8Array;
  /** Serves this principal's requests alone; absent is everybody's. */
  readonly principal?: string | undefined;
  readonly failurePolicy?: 'pass-through' | 'fail-closed' | undefined;
  readonly deadlineMs?: number | undefined;
}

/** All of it, as an operator writes it down. */
export interface Routes {
  readonly upstreams: readonly UpstreamRoute[];
  readonly principals: readonly PrincipalRoute[];
  /** Filters are asked in this order, everybody's before a principal's own; a principal's own shape beats everybody's. */
  readonly plugins: readonly PluginRoute[];
}

/** The plugins that one principal's requests pass through. */
export interface Plugins {
  readonly chain: PluginChain;
  readonly dialect: WasmtimeUpstreamDialect | undefined;
  readonly transformsResponses: boolean;
  readonly transformsEvents: boolean;
}

/** One state of the routes. A request that keeps it sees no swap. */
export class View {
  readonly upstreams: readonly UpstreamRoute[];
  readonly keys: readonly SlotKey[];
  readonly #principals: ReadonlyMap<string, PrincipalRoute>;
  readonly #everybodys: Plugins;
  readonly #own = new Map<string, Plugins>();
  #first = 0;

  /** `slots` are those of `routes.plugins`, in their order; `observers` hear of everything after the plugins. */
  constructor(
    runtime: WasmtimeRuntime,
    routes: Routes,
    slots: readonly PluginSlot[],
    observers: readonly ObserveStage[],
  ) {
    this.upstreams = routes.upstreams;
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

  /** Whose key it is; undefined is nobody's. Looked up by its hash, so that timing tells nothing of it. */
  principalOf(key: string): Principal | undefined {
    return this.#principals.get(createHash('sha256').update(key, 'latin1').digest('hex'));
  }

  /** The upstreams, each time beginning with the next one: of equals, a filter keeps those that are offered first. */
  inTurn(): UpstreamRoute[] {
    if (++this.#first >= this.upstreams.length) this.#first = 0;
    return [...this.upstreams.slice(this.#first), ...this.upstreams.slice(0, this.#first)];
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
  const chain = new PluginChain({
    filters: ofKind('filter').map((slot) => new WasmtimeFilterPlugin(runtime, slot)),
    shape: dialect,
    observers: [...ofKind('observe').map((slot) => new WasmtimeObservabilityHook(runtime, slot)), ...observers],
  });
  const { transform_response, transform_sse_event } = shape?.current.metadata.hooks ?? {};
  return {
    chain,
    dialect,
    transformsResponses: transform_response?.mode === 'active',
    transformsEvents: transform_sse_event?.mode === 'active',
  };
}

/** Brings routes into service, one set after the other. */
export class Publisher {
  readonly #runtime: WasmtimeRuntime;
  readonly #observers: readonly ObserveStage[];
  #view: View;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(runtime: WasmtimeRuntime, observers: readonly ObserveStage[]) {
    this.#runtime = runtime;
    this.#observers = observers;
    this.#view = new View(runtime, { upstreams: [], principals: [], plugins: [] }, [], observers);
  }

  /** What a new request sees. */
  get view(): View {
    return this.#view;
  }

  /**
   * Admits the plugins off this thread, then publishes the view, then evicts what no view needs: in this order no request
   * meets a slot that is not there. A refused plugin rejects, and what was served goes on being served.
   */
  publish(routes: Routes): Promise<View> {
    const published = this.#turn.then(() => this.#publish(routes));
    this.#turn = published.catch(() => {});
    return published;
  }

  async #publish(routes: Routes): Promise<View> {
    checkNames(routes.plugins);
    try {
      const slots: PluginSlot[] = [];
      for (const plugin of routes.plugins) slots.push(await this.#register(plugin));
      this.#view = new View(this.#runtime, routes, slots, this.#observers);
      return this.#view;
    } finally {
      this.#runtime.retainSlots(this.#view.keys);
    }
  }

  #register({ kind, name, bytes, principal, failurePolicy, deadlineMs }: PluginRoute): Promise<PluginSlot> {
    const key = principal === undefined ? SlotKey.global(name) : new SlotKey(principal, name);
    const options = { failurePolicy, deadlineMs };
    switch (kind) {
      case 'filter':
        return this.#runtime.registerFilterAsync(key, name, bytes, options);
      case 'shape':
        return this.#runtime.registerShapeAsync(key, name, bytes, options);
      case 'observe':
        return this.#runtime.registerObserveAsync(key, name, bytes, options);
    }
  }
}

/** Two plugins of one name would be two versions of one slot. */
function checkNames(plugins: readonly PluginRoute[]): void {
  const names = plugins.map(({ principal, name }) => JSON.stringify([principal ?? null, name]));
  const repeated = names.find((name, index) => names.indexOf(name) < index);
  if (repeated !== undefined) throw new Error(`plugin ${repeated} is there twice`);
}
