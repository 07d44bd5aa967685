/** The deployed set: the routes of the config, the plugins of the folder, and their previous versions. */
import type { Logger } from './logging.ts';
import { printable } from './logging.ts';
import type { FolderChange } from './plugin-folder.ts';
import type { PluginRoute, Routes } from './routes.ts';

/** Deploys a complete set, or rejects. */
export interface Publishing {
  publish(routes: Routes): Promise<void>;
}

/** A rejected plugin and the reason. */
export interface PluginRefusal {
  readonly plugin: string;
  readonly reason: string;
  /** ISO 8601. */
  readonly at: string;
}

/** The deployed set. All changes of it run here sequentially. */
export class Deployment {
  readonly #publishing: Publishing;
  readonly #logger: Logger;
  #configured: Routes;
  /** The last accepted version of each plugin of the folder, by file name. */
  readonly #folder = new Map<string, PluginRoute>();
  /** The previous version of each plugin, by principal and name. */
  readonly #previous = new Map<string, PluginRoute>();
  readonly #refusals = new Map<string, PluginRefusal>();
  #turn: Promise<unknown> = Promise.resolve();

  constructor(publishing: Publishing, logger: Logger, configured: Routes, folder: readonly FolderChange[] = []) {
    this.#publishing = publishing;
    this.#logger = logger;
    this.#configured = configured;
    for (const change of folder) {
      if ('error' in change) this.#refuse(change.name, change.error);
      else if (change.route !== null) this.#folder.set(change.name, change.route);
    }
  }

  /** Returns the current set. Plugins of the folder follow those of the config, by name. */
  get routes(): Routes {
    return this.#routesWith(this.#configured, this.#folder);
  }

  /** Plugins whose last version was rejected. */
  get refusals(): readonly PluginRefusal[] {
    return [...this.#refusals.values()];
  }

  /** Replaces the routes of the config. Rejects without a change if a plugin is rejected. */
  configure(routes: Routes): Promise<void> {
    return this.#inTurn(async () => {
      const before = this.routes;
      await this.#publishing.publish(this.#routesWith(routes, this.#folder));
      this.#configured = routes;
      this.#remember(before);
    });
  }

  /** Applies changes of the folder separately: a rejected plugin keeps its version and does not affect the others. */
  takeChanges(changes: readonly FolderChange[]): Promise<void> {
    return this.#inTurn(async () => {
      for (const change of changes) {
        try {
          if ('error' in change) throw change.error;
          const folder = new Map(this.#folder);
          if (change.route === null) folder.delete(change.name);
          else folder.set(change.name, change.route);
          const before = this.routes;
          await this.#publishing.publish(this.#routesWith(this.#configured, folder));
          this.#folder.clear();
          for (const [name, route] of folder) this.#folder.set(name, route);
          this.#remember(before);
          this.#refusals.delete(change.name);
          this.#logger.info({ plugin: printable(change.name), removed: change.route === null }, 'a plugin was swapped');
        } catch (error) {
          this.#refuse(change.name, error);
        }
      }
    });
  }

  /** Deploys the previous version. Rejects if there is none. */
  rollback(plugin: string, principal?: string): Promise<void> {
    return this.#inTurn(async () => {
      const key = keyOf({ name: plugin, principal });
      const previous = this.#previous.get(key);
      if (previous === undefined) throw new Error('there is no previous version');
      const swap = (route: PluginRoute) => (keyOf(route) === key ? previous : route);
      const configured = { ...this.#configured, plugins: this.#configured.plugins.map(swap) };
      const folder = new Map([...this.#folder].map(([name, route]) => [name, swap(route)]));
      await this.#publishing.publish(this.#routesWith(configured, folder));
      this.#configured = configured;
      for (const [name, route] of folder) this.#folder.set(name, route);
      // As in the runtime, a rollback cannot be rolled back.
      this.#previous.delete(key);
    });
  }

  /** Whether a plugin with this name is deployed. */
  has(plugin: string, principal?: string): boolean {
    const key = keyOf({ name: plugin, principal });
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

  #refuse(plugin: string, error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    this.#refusals.set(plugin, { plugin, reason, at: new Date().toISOString() });
    this.#logger.warn({ plugin: printable(plugin), reason: printable(reason) }, 'a plugin was rejected');
  }

  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(change);
    this.#turn = done.catch(() => {});
    return done;
  }
}

function keyOf({ name, principal }: Pick<PluginRoute, 'name' | 'principal'>): string {
  return JSON.stringify([principal ?? null, name]);
}
