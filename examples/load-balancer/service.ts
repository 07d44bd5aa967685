/** The complete program: workers, the deployment, the plugin folder and the admin server. */
import type { Server } from 'node:http';
import { hotEngineConfigSchema } from 'cc-lb-runtime-wasmtime';
import { AggregatorRegistry, Counter, Gauge, Registry } from 'prom-client';
import { adminServer, type Operations } from './admin.ts';
import { type Config, readConfig } from './config.ts';
import { Deployment } from './deployment.ts';
import type { DryRun, Explanation } from './explain.ts';
import { listening } from './listening.ts';
import { LogDestination } from './log-destination.ts';
import { createLogger, type Logger } from './logging.ts';
import { type FolderChange, PluginFolder } from './plugin-folder.ts';
import { pluginKey, type Routes } from './routes.ts';
import { pluginsOf, type Status, statusOf } from './status.ts';
import type { PluginName } from './worker.ts';
import { Workers } from './workers.ts';

/** A running load balancer of several processes. */
export class Service implements Operations {
  readonly token: string | undefined;
  readonly names: readonly string[];
  readonly #file: string;
  readonly #config: Config;
  readonly #logger: Logger;
  readonly #workers: Workers;
  readonly #registry = new Registry();
  readonly #swaps: Counter;
  readonly #admin: Server;
  readonly #deployment: Deployment;
  #folder: PluginFolder | undefined;
  #closed: Promise<void> | undefined;

  constructor(file: string, config: Config) {
    this.#file = file;
    this.#config = config;
    const { token, names, host } = config.admin;
    this.token = token;
    this.names = host === undefined ? names : [...names, host.toLowerCase()];
    const { workers: count, listen, log, engine, limits, timeouts, breaker } = config;
    const destination = new LogDestination();
    destination.register(this.#registry);
    this.#logger = createLogger(log, destination);
    this.#workers = new Workers({ count, listen, log, engine, limits, timeouts, breaker, logger: this.#logger });
    this.#deployment = new Deployment({ publish: (routes) => this.#publish(routes) }, this.#logger, config.routes);
    const registers = [this.#registry];
    this.#swaps = new Counter({
      name: 'cc_lb_swaps_total',
      help: 'Sets of routes that were activated or rejected',
      labelNames: ['outcome'],
      registers,
    });
    const workers = this.#workers;
    new Counter({
      name: 'cc_lb_worker_restarts_total',
      help: 'Workers that were replaced',
      registers,
      collect() {
        this.reset();
        this.inc(workers.restarts);
      },
    });
    new Gauge({ name: 'cc_lb_workers', help: 'Configured workers', registers }).set(count);
    this.#admin = adminServer(this);
  }

  /**
   * Starts the program. Rejects if a plugin of the config is rejected. Rejected plugins of the folder are skipped.
   */
  async start(): Promise<{ url: string; admin: string }> {
    const { pluginFolder, trustedKeys, engine, routes, admin } = this.#config;
    let found: readonly FolderChange[] = [];
    if (pluginFolder !== undefined) {
      const { maxModuleBytes: maxBytes, deadlineMs: maxDeadlineMs } = hotEngineConfigSchema.parse(engine ?? {});
      this.#folder = new PluginFolder({ ...pluginFolder, trustedKeys, maxBytes, maxDeadlineMs });
      found = await this.#folder.read();
    }
    await this.#workers.start(routes);
    await this.#deployment.takeChanges(found);
    // Only now, so that no request is served without the plugins of the folder.
    const url = await this.#workers.listen();
    this.#folder?.watch((changes) => this.#deployment.takeChanges(changes));
    const adminUrl = await listening(this.#admin, admin);
    this.#logger.info({ url, admin: adminUrl, workers: this.#config.workers }, 'started');
    return { url, admin: adminUrl };
  }

  /** Reads the config file again and deploys its routes. Other settings require a restart. */
  async reload(): Promise<void> {
    try {
      const { routes } = await readConfig(this.#file);
      await this.#deployment.configure(routes);
      this.#logger.info({ plugins: routes.plugins.map(({ name }) => name) }, 'the config was swapped in');
    } catch (error) {
      this.#logger.error({ err: error }, 'the config was not swapped in');
    }
  }

  /** Stops accepting requests, lets running ones finish for the configured grace period, then ends the program. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  get isReady(): boolean {
    return this.#workers.isReady;
  }

  async problems(): Promise<readonly string[]> {
    const problems = (await this.#workers.reports()).flatMap(({ pid, isServing, report }) => {
      if (!isServing) return [];
      if (report === null) return [`worker ${pid} does not answer`];
      return report.health.problems.map((problem) => `worker ${pid}: ${problem}`);
    });
    const { serving } = this.#workers;
    const { workers } = this.#config;
    if (serving === 0) problems.unshift('no worker serves');
    else if (serving < workers) problems.unshift(`${serving} of ${workers} workers serve`);
    return problems;
  }

  async metrics(): Promise<{ text: string; contentType: string }> {
    const own = await this.#registry.getMetricsAsJSON();
    const all = AggregatorRegistry.aggregate([...(await this.#workers.metrics()), own]);
    return { text: await all.metrics(), contentType: all.contentType };
  }

  async status(): Promise<Status> {
    const [members, metrics] = await Promise.all([this.#workers.reports(), this.#workers.metrics()]);
    const { routes, rejections } = this.#deployment;
    const { restarts } = this.#workers;
    return statusOf({ members, metrics, routes, rejections, restarts, isReady: this.isReady });
  }

  async plugins(): Promise<Status['plugins']> {
    return pluginsOf(await this.#workers.reports(), this.#deployment.routes);
  }

  async explain(run: DryRun): Promise<Explanation> {
    return this.#workers.any.call('explain', run, 30_000);
  }

  async disable(name: PluginName & { readonly reason: string }): Promise<void> {
    this.#check(name);
    this.#logger.warn({ ...name }, 'an operator disables a plugin');
    await this.#workers.disable(name);
  }

  async enable(name: PluginName): Promise<void> {
    this.#check(name);
    this.#logger.warn({ ...name }, 'an operator enables a plugin');
    await this.#workers.enable(name);
  }

  async rollback({ plugin, principal }: PluginName): Promise<void> {
    this.#logger.warn({ plugin, principal }, 'an operator rolls a plugin back');
    await this.#deployment.rollback(plugin, principal);
  }

  /** Throws for a name that is not deployed, such as a misspelled one. A disabled plugin may have been removed. */
  #check(name: PluginName): void {
    const { plugin, principal } = name;
    if (this.#deployment.has(plugin, principal) || this.#workers.isDisabled(name)) return;
    throw new Error(`plugin ${pluginKey(plugin, principal)} is not deployed`);
  }

  async #publish(routes: Routes): Promise<void> {
    try {
      await this.#workers.publish(routes);
      this.#swaps.inc({ outcome: 'committed' });
    } catch (error) {
      this.#swaps.inc({ outcome: 'rejected' });
      throw error;
    }
  }

  async #close(): Promise<void> {
    this.#folder?.close();
    await this.#workers.close(this.#config.graceMs);
    this.#admin.close();
    this.#admin.closeAllConnections();
  }
}
