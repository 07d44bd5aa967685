/** The deployed set: the routes of the config, the plugins of the folder, and their previous versions. */
import type { Logger } from './logging.ts';
import { printable } from './logging.ts';
import type { FolderChange } from './plugin-folder.ts';
import { type PluginRoute, pluginKey, type Routes } from './routes.ts';
import { SerialQueue } from './serial-queue.ts';

/** Deploys a complete set, or rejects. */
export interface Publishing {
  publish(routes: Routes): Promise<void>;
}

/** A rejected plugin and the reason. */
export interface PluginRejection {
  readonly plugin: string;
  readonly reason: string;
  /** ISO 8601. */
  readonly at: string;
}

type ReadChange = Exclude<FolderChange, { error: Error }>;

/** The deployed set. All changes of it run here sequentially. */
export class Deployment {
  readonly #publishing: Publishing;
  readonly #logger: Logger;
  #configured: Routes;
  /** The last accepted version of each plugin of the folder, by file name. */
  #folder: ReadonlyMap<string, PluginRoute> = new Map();
  /** The previous version of each plugin, by principal and name. */
  readonly #previous = new Map<string, PluginRoute>();
  readonly #rejections = new Map<string, PluginRejection>();
  readonly #queue = new SerialQueue();

  constructor(publishing: Publishing, logger: Logger, configured: Routes) {
    this.#publishing = publishing;
    this.#logger = logger;
    this.#configured = configured;
  }

  /** Returns the current set. Plugins of the folder follow those of the config, by name. */
  get routes(): Routes {
    return this.#routesWith(this.#configured, this.#folder);
  }

  /** Plugins whose last version was rejected. */
  get rejections(): readonly PluginRejection[] {
    return [...this.#rejections.values()];
  }

  /** Replaces the routes of the config. Rejects without a change if a plugin is rejected. */
  configure(routes: Routes): Promise<void> {
    return this.#queue.run(async () => {
      const before = this.routes;
      await this.#publishing.publish(this.#routesWith(routes, this.#folder));
      this.#configured = routes;
      this.#remember(before);
    });
  }

  /**
   * Applies changes of the folder: together, or, if this set is rejected, each alone. A rejected plugin keeps its
   * version and does not affect the others.
   */
  takeChanges(changes: readonly FolderChange[]): Promise<void> {
    return this.#queue.run(async () => {
      const read: ReadChange[] = [];
      for (const change of changes) {
        if ('error' in change) this.#reject(change.name, change.error);
        else read.push(change);
      }
      if (read.length === 0) return;
      try {
        await this.#apply(read);
      } catch (error) {
        if (read.length === 1) this.#reject(read[0]!.name, error);
        else for (const change of read) await this.#apply([change]).catch((alone) => this.#reject(change.name, alone));
      }
    });
  }

  /** Deploys the previous version. Rejects if there is none. */
  rollback(plugin: string, principal?: string): Promise<void> {
    return this.#queue.run(async () => {
      const key = pluginKey(plugin, principal);
      const previous = this.#previous.get(key);
      if (previous === undefined) throw new Error('there is no previous version');
      const swap = (route: PluginRoute) => (keyOf(route) === key ? previous : route);
      const configured = { ...this.#configured, plugins: this.#configured.plugins.map(swap) };
      const folder = new Map([...this.#folder].map(([name, route]) => [name, swap(route)]));
      await this.#publishing.publish(this.#routesWith(configured, folder));
      this.#configured = configured;
      this.#folder = folder;
      // As in the runtime, a rollback cannot be rolled back.
      this.#previous.delete(key);
    });
  }

  /** Whether a plugin with this name is deployed. */
  has(plugin: string, principal?: string): boolean {
    const key = pluginKey(plugin, principal);
    return this.routes.plugins.some((route) => keyOf(route) === key);
  }

  #routesWith(configured: Routes, folder: ReadonlyMap<string, PluginRoute>): Routes {
    const added = [...folder].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, route]) => route);
    return { ...configured, plugins: [...configured.plugins, ...added] };
  }

  /** Records the versions that a change replaced. */
  #remember(before: Routes): void {
    const now = new Map(this.routes.plugins.map((route) => [keyOf(route), route]));
    for (const route of before.plugins) {
      const key = keyOf(route);
      const current = now.get(key);
      if (current === undefined) this.#previous.delete(key);
      else if (Buffer.compare(current.bytes, route.bytes) !== 0) this.#previous.set(key, route);
    }
  }

  async #apply(changes: readonly ReadChange[]): Promise<void> {
    const folder = new Map(this.#folder);
    for (const { name, route } of changes) {
      if (route === null) folder.delete(name);
      else folder.set(name, this.#checked(route));
    }
    const before = this.routes;
    await this.#publishing.publish(this.#routesWith(this.#configured, folder));
    this.#folder = folder;
    this.#remember(before);
    for (const { name, route } of changes) {
      this.#rejections.delete(name);
      this.#logger.info({ plugin: printable(name), removed: route === null }, 'a plugin was swapped');
    }
  }

  /** Throws if a plugin would serve nobody. */
  #checked(route: PluginRoute): PluginRoute {
    const { principal } = route;
    if (principal === undefined || this.#configured.principals.some(({ id }) => id === principal)) return route;
    throw new Error(`no principal has the id ${JSON.stringify(principal)}`);
  }

  #reject(plugin: string, error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    this.#rejections.set(plugin, { plugin, reason, at: new Date().toISOString() });
    this.#logger.warn({ plugin: printable(plugin), reason: printable(reason) }, 'a plugin was rejected');
  }
}

function keyOf({ name, principal }: PluginRoute): string {
  return pluginKey(name, principal);
}
