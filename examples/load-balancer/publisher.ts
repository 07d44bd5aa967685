/** Deploys routes in two phases. */
import {
  type Admission,
  admitWasmAsync,
  type ObserveStage,
  type PluginSlot,
  type WasmtimeRuntime,
} from 'cc-lb-runtime-wasmtime';
import { checkNames, type PluginRoute, type Routes, slotKeyOf } from './routes.ts';
import { SerialQueue } from './serial-queue.ts';
import type { Upstreams } from './upstream.ts';
import { View } from './view.ts';

/** The dependencies of a publisher. */
export interface PublisherParts {
  readonly runtime: WasmtimeRuntime;
  readonly upstreams: Upstreams;
  readonly observers: readonly ObserveStage[];
}

/** The view of requests, and its replacement. */
export class Publisher {
  readonly #parts: PublisherParts;
  readonly #queue = new SerialQueue();
  #view: View;
  /** The plugins of the view and their slots; empty after a commit that failed, which may have swapped some. */
  #deployed: readonly { readonly plugin: PluginRoute; readonly slot: PluginSlot }[] = [];

  constructor(parts: PublisherParts) {
    this.#parts = parts;
    this.#view = this.#viewOf({ upstreams: [], principals: [], plugins: [] }, []);
  }

  /** The view of new requests. */
  get view(): View {
    return this.#view;
  }

  /** Admits every plugin, then commits. */
  async publish(routes: Routes): Promise<View> {
    checkNames(routes.plugins);
    const admitted: Admission[] = [];
    for (const plugin of routes.plugins) admitted.push(await this.admit(plugin));
    return this.commit(routes, admitted);
  }

  /**
   * Admits a plugin off-thread. Requests are not affected. Rejects if it is rejected; the error has the listed name of the
   * plugin as `plugin`.
   */
  async admit({ name, principal, kind, bytes }: PluginRoute): Promise<Admission> {
    const { runtime } = this.#parts;
    try {
      const deployed = runtime.getSlot(slotKeyOf(name, principal))?.kind ?? kind;
      if (deployed !== kind) throw new Error(`it is deployed as ${deployed}: remove it before it is a ${kind}`);
      return await admitWasmAsync(runtime, bytes, kind);
    } catch (error) {
      throw new PluginRejected(name, error);
    }
  }

  /**
   * Registers the plugins, then publishes the view, then evicts slots that the view does not use. In this order no
   * request uses a missing slot. Sets are committed in the order of the calls. `admitted` are the admissions of the plugins,
   * which are reachable until then, so that no plugin is compiled and probed again.
   */
  commit(routes: Routes, admitted: Admission[]): Promise<View> {
    return this.#queue.run(async () => {
      try {
        return await this.#commit(routes);
      } finally {
        admitted.length = 0;
      }
    });
  }

  async #commit(routes: Routes): Promise<View> {
    const { runtime, upstreams } = this.#parts;
    checkNames(routes.plugins);
    const deployed = this.#deployed;
    this.#deployed = [];
    try {
      const slots: PluginSlot[] = [];
      for (const plugin of routes.plugins) {
        const same = deployed.find((one) => isSame(one.plugin, plugin));
        slots.push(same?.slot ?? (await this.#register(plugin)));
      }
      this.#deployed = routes.plugins.map((plugin, index) => ({ plugin, slot: slots[index]! }));
      this.#view = this.#viewOf(routes, slots);
      upstreams.retain(this.#view.targets.map(({ upstream }) => upstream));
      return this.#view;
    } finally {
      runtime.retainSlots(this.#view.keys);
    }
  }

  #viewOf(routes: Routes, slots: readonly PluginSlot[]): View {
    const { runtime, upstreams, observers } = this.#parts;
    return new View(runtime, routes, slots, upstreams, observers);
  }

  /** Registers a plugin and returns its slot. */
  #register({ kind, name, bytes, principal, failurePolicy, deadlineMs }: PluginRoute): Promise<PluginSlot> {
    const { runtime } = this.#parts;
    const key = slotKeyOf(name, principal);
    const options = { failurePolicy, deadlineMs };
    switch (kind) {
      case 'filter':
        return runtime.registerFilterAsync(key, name, bytes, options);
      case 'shape':
        return runtime.registerShapeAsync(key, name, bytes, options);
      case 'observe':
        return runtime.registerObserveAsync(key, name, bytes, options);
    }
  }
}

/** Whether a plugin is deployed unchanged. Its bytes are the same object then, because comparing them takes time. */
function isSame(one: PluginRoute, other: PluginRoute): boolean {
  return (
    one.bytes === other.bytes &&
    one.name === other.name &&
    one.principal === other.principal &&
    one.kind === other.kind &&
    one.failurePolicy === other.failurePolicy &&
    one.deadlineMs === other.deadlineMs
  );
}

/** A plugin was rejected; `cause` is the reason. */
export class PluginRejected extends Error {
  readonly plugin: string;

  constructor(plugin: string, cause: unknown) {
    super(`plugin ${JSON.stringify(plugin)} is rejected: ${cause instanceof Error ? cause.message : cause}`, { cause });
    this.name = 'PluginRejected';
    this.plugin = plugin;
  }
}
