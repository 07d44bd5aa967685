// The work of a request: typed calls of a package, with separate modules for each principal.
import { pathToFileURL } from 'node:url';
import { moduleOf } from './modules.mjs';
import { eventInputs, observeEvents, principals, requests, streamEvents } from './traffic.mjs';

const STREAM_EVENTS = 20;

/** The plugins that a request of each kind of work calls. */
const PLUGINS = {
  request: { filter: 'cache-aware', shape: 'echo' },
  reused: { filter: 'cache-aware', shape: 'echo' },
  filter: { filter: 'cache-aware' },
  observed: { filter: 'cache-aware', shape: 'echo', observe: 'lifecycle' },
  stream: { filter: 'cache-aware', shape: 'transforms', observe: 'lifecycle' },
  event: { shape: 'transforms' },
};

/** The typed calls of one request; each returns a number that depends on every answer. */
const WORK = {
  request: (plugins, input) => filter(plugins, input) + shape(plugins, input),
  reused: (plugins, input) => filter(plugins, input) + shape(plugins, input, { bodyInto: input.bodyInto }),
  filter,
  observed: (plugins, input) => filter(plugins, input) + shape(plugins, input) + observe(plugins, input),
  stream: (plugins, input) =>
    filter(plugins, input) + shape(plugins, input) + transform(plugins, input, STREAM_EVENTS) + observe(plugins, input),
  event: (plugins, input) => transform(plugins, input, 1),
};

function filter({ filter }, { ctx, candidates, principal }) {
  return filter.filter(ctx, principal, candidates).keptUpstreamIds.length;
}

function shape({ shape }, { ctx, upstream, principal }, options) {
  return shape.shape(ctx, upstream, principal, options).body.length;
}

function transform({ shape }, input, count) {
  let changed = 0;
  for (const event of eventInputs(input, input.principal, input.events.slice(0, count))) {
    const answer = shape.transformSseEvent(event);
    if (answer.kind === 'replace') changed += answer.events.length;
  }
  if (changed !== count) throw new Error('the plugin did not change every event');
  return changed;
}

function observe({ observe }, input) {
  for (const event of observeEvents(input, input.principal)) {
    const error = observe.observe(event);
    if (error !== undefined) throw error;
  }
  return 1;
}

/** One package in this thread: its runtimes and plugins, which commands share. */
export class Bench {
  #api;
  #runtimes = new Map();
  #plugins = new Map();
  #requests;

  constructor(api) {
    this.#api = api;
  }

  /** Loads the package at `root`, an absolute path. */
  static async load(root) {
    return new Bench(await import(pathToFileURL(`${root}/dist/index.js`).href));
  }

  /** A function that makes the request of a number: principals take turns. */
  request({ work, guests, strategy, principals: count, bodyBytes }) {
    const plugins = this.#pluginsOf(work, guests, strategy, count);
    const callers = principals(count);
    const ring = this.#ring(bodyBytes);
    const events = streamEvents(STREAM_EVENTS);
    const run = WORK[work];
    const bodyInto = work === 'reused' ? Buffer.alloc(bodyBytes) : undefined;
    return (number) => {
      const { ctx, candidates, upstream } = ring[number % ring.length];
      const principal = number % count;
      return run(plugins[principal], { ctx, candidates, upstream, principal: callers[principal], events, bodyInto });
    };
  }

  #ring(bodyBytes) {
    if (this.#requests?.bodyBytes !== bodyBytes) {
      // The old ring goes first: two of them would count in the peak of memory.
      this.#requests = undefined;
      this.#requests = { bodyBytes, ring: requests(bodyBytes) };
    }
    return this.#requests.ring;
  }

  #pluginsOf(work, guests, strategy, count) {
    const key = `${work} ${guests} ${strategy}`;
    const plugins = this.#plugins.get(key) ?? [];
    this.#plugins.set(key, plugins);
    while (plugins.length < count) plugins.push(this.#register(work, guests, strategy, plugins.length));
    return plugins;
  }

  #register(work, guests, strategy, principal) {
    const { SlotKey, WasmtimeFilterPlugin, WasmtimeObservabilityHook, WasmtimeUpstreamDialect } = this.#api;
    const runtime = this.#runtime(strategy);
    const names = PLUGINS[work];
    const register = (method, Adapter, plugin) => {
      if (plugin === undefined) return undefined;
      const key = new SlotKey(`tenant-${principal}`, `${plugin}-${guests}`);
      return new Adapter(runtime, runtime[method](key, plugin, moduleOf(plugin, guests, principal)));
    };
    return {
      filter: register('registerFilter', WasmtimeFilterPlugin, names.filter),
      shape: register('registerShape', WasmtimeUpstreamDialect, names.shape),
      observe: register('registerObserve', WasmtimeObservabilityHook, names.observe),
    };
  }

  #runtime(strategy) {
    const { WasmtimeRuntime, productionHotEngineConfig } = this.#api;
    let runtime = this.#runtimes.get(strategy);
    if (runtime === undefined) {
      runtime = new WasmtimeRuntime({ ...productionHotEngineConfig(), allocationStrategy: strategy });
      this.#runtimes.set(strategy, runtime);
    }
    return runtime;
  }
}
