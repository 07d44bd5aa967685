/** Sets of routes as they are sent to workers: without the bytes of plugins that a worker has already. */
import { type PluginRoute, pluginKey, type Routes } from './routes.ts';

/** A plugin without its bytes. */
interface SentPlugin extends Omit<PluginRoute, 'bytes'> {
  /** The index in the deployed routes of the plugin with the same bytes; null if they are sent when it is admitted. */
  readonly deployed: number | null;
}

/** Routes and the number of their deployment. */
export interface RouteSet {
  readonly id: number;
  readonly routes: Omit<Routes, 'plugins'>;
  readonly plugins: readonly SentPlugin[];
}

const NO_BYTES = new Uint8Array();

/** Returns the set of `routes` for a worker in which `deployed` are deployed. */
export function routeSet(id: number, { plugins, ...routes }: Routes, deployed: Routes): RouteSet {
  const indexes = new Map(deployed.plugins.map((plugin, index) => [pluginKey(plugin.name, plugin.principal), index]));
  return {
    id,
    routes,
    plugins: plugins.map(({ bytes, ...plugin }) => {
      const index = indexes.get(pluginKey(plugin.name, plugin.principal));
      const same = index === undefined ? undefined : deployed.plugins[index];
      const isDeployed = same?.kind === plugin.kind && Buffer.compare(same.bytes, bytes) === 0;
      return { ...plugin, deployed: isDeployed ? index! : null };
    }),
  };
}

/** Returns the routes of a set. Plugins that are not deployed have no bytes yet. */
export function routesOf(
  { routes, plugins }: RouteSet,
  deployed: Routes,
): Routes & { readonly plugins: PluginRoute[] } {
  return {
    ...routes,
    plugins: plugins.map(({ deployed: index, ...plugin }) => ({
      ...plugin,
      bytes: index === null ? NO_BYTES : deployed.plugins[index]!.bytes,
    })),
  };
}
