/** A worker process: one load balancer, driven by the primary. */
import { pathToFileURL } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import type { Admission, SlotStatus } from 'cc-lb-runtime-wasmtime';
import type { MetricObjectWithValues, MetricValue } from 'prom-client';
import type { BreakerState } from './breaker.ts';
import type { CachedPrompt } from './cache-ledger.ts';
import { type DryRun, type Explanation, explain } from './explain.ts';
import { type Port, post, serve } from './ipc.ts';
import type { Address } from './listening.ts';
import { LoadBalancer } from './load-balancer.ts';
import { LogDestination } from './log-destination.ts';
import { createLogger, type LogOptions, logEntry, logRequest } from './logging.ts';
import type { LoadBalancerOptions } from './options.ts';
import { type LogEntry, RECENT_REQUESTS, type RequestRecord } from './record.ts';
import { type RouteSet, routesOf } from './route-set.ts';
import { checkNames, slotKeyOf } from './routes.ts';
import { traceToOpenTelemetry } from './tracing.ts';

/** The options of a worker. */
export interface WorkerOptions extends Pick<LoadBalancerOptions, 'engine' | 'limits' | 'timeouts' | 'breaker'> {
  readonly log: LogOptions;
}

/** A slot's status for messages between processes. */
export interface SlotReport extends Omit<SlotStatus, 'key'> {
  readonly principal: string;
  readonly plugin: string;
  readonly version: string;
}

/** The report of a worker. */
export interface WorkerReport {
  readonly requestsInFlight: number;
  readonly residentBytes: number;
  /** Prompts that the worker has recorded as cached. */
  readonly knownPrompts: number;
  readonly health: { readonly ok: boolean; readonly problems: readonly string[] };
  readonly slots: readonly SlotReport[];
  readonly upstreams: readonly { readonly name: string; readonly breaker: BreakerState }[];
  /** The last requests, newest first. */
  readonly recent: readonly RequestRecord[];
}

/** The series of a registry. */
export type Metrics = MetricObjectWithValues<MetricValue<string>>[];

/** Names a plugin. */
export interface PluginName {
  readonly plugin: string;
  /** Absent is all principals. */
  readonly principal?: string | undefined;
}

/** The service of a worker for the primary. A type alias, so that it is assignable to `Service`. */
export type WorkerService = {
  start(options: WorkerOptions): Promise<void>;
  /** Takes the set whose plugins `admit` admits and that `commit` deploys. */
  prepare(set: RouteSet): Promise<void>;
  /** Admits the plugin with this index in the prepared set. Those that are deployed already need no admission. */
  admit(plugin: { readonly index: number; readonly bytes: Uint8Array }): Promise<void>;
  /** Deploys the set that was prepared last, which must have this id. */
  commit(id: number): Promise<void>;
  listen(address: Address): Promise<string>;
  report(argument: null): Promise<WorkerReport>;
  metrics(argument: null): Promise<Metrics>;
  disable(argument: PluginName & { readonly reason: string }): Promise<void>;
  enable(argument: PluginName): Promise<void>;
  explain(run: DryRun): Promise<Explanation>;
  close(argument: { readonly graceMs: number }): Promise<void>;
};

/** The prompts that a worker has recorded as cached; the primary forwards them to the others. */
export interface CachedPrompts {
  readonly cached: readonly CachedPrompt[];
}

/** Whether a message has cached prompts. */
export function areCachedPrompts(message: unknown): message is CachedPrompts {
  return typeof message === 'object' && message !== null && 'cached' in message;
}

/** The message of a worker when it accepts calls. */
export const READY = 'ready';

/** Serves a load balancer on a port. Calls `exit` after it is closed. */
export function serveWorker(port: Port, exit: () => void): void {
  let balancer: LoadBalancer | undefined;
  const recent: RequestRecord[] = [];
  let prepared: { readonly id: number; readonly routes: ReturnType<typeof routesOf> } | undefined;
  /** The admissions of the prepared set, whose modules stay compiled until it is committed. */
  let admitted: Admission[] = [];

  const running = (): LoadBalancer => {
    if (balancer === undefined) throw new Error('the worker was not started');
    return balancer;
  };

  const onCached = promptSender(port);
  port.on('message', (message) => {
    if (areCachedPrompts(message)) for (const prompt of message.cached) balancer?.ledger.add(prompt);
  });

  const service: WorkerService = {
    async start({ log: logOptions, ...options }) {
      const destination = new LogDestination();
      const logger = createLogger(logOptions, destination);
      if (await traceToOpenTelemetry()) logger.info('plugin calls are traced');
      const accessLog = (record: RequestRecord) => {
        recent.unshift(record);
        if (recent.length > RECENT_REQUESTS) recent.pop();
        logRequest(logger, record);
      };
      const log = (entry: LogEntry) => logEntry(logger, entry);
      balancer = new LoadBalancer({ ...options, log, accessLog, onCached });
      destination.register(balancer.registry);
    },
    async prepare(set) {
      prepared = { id: set.id, routes: routesOf(set, running().view.routes) };
      admitted = [];
      checkNames(prepared.routes.plugins);
    },
    async admit({ index, bytes }) {
      const { plugins } = prepared!.routes;
      const plugin = { ...plugins[index]!, bytes };
      plugins[index] = plugin;
      admitted.push(await running().admit(plugin));
    },
    async commit(id) {
      if (prepared?.id !== id) throw new Error('another set was prepared');
      await running().commit(prepared.routes, admitted);
      prepared = undefined;
    },
    listen: async (address) => running().listen(address),
    report: async () => reportOf(running(), recent),
    metrics: async () => running().registry.getMetricsAsJSON(),
    async disable({ plugin, principal, reason }) {
      running().runtime.disable(slotKeyOf(plugin, principal), reason);
    },
    async enable({ plugin, principal }) {
      running().runtime.enable(slotKeyOf(plugin, principal));
    },
    explain: async (run) => explain(running().view, running().ledger, run),
    async close({ graceMs }) {
      await balancer?.close({ graceMs });
      setImmediate(exit);
    },
  };
  serve(port, service);
}

/**
 * Returns a function that sends cached prompts to the primary: together, once for each iteration of the event loop, so
 * that a burst of answers costs one message.
 */
function promptSender(port: Port): (prompt: CachedPrompt) => void {
  let cached: CachedPrompt[] = [];
  return (prompt) => {
    if (cached.push(prompt) > 1) return;
    setImmediate(() => {
      post(port, { cached } satisfies CachedPrompts);
      cached = [];
    });
  };
}

function reportOf(
  { runtime, view, ledger, requestsInFlight }: LoadBalancer,
  recent: readonly RequestRecord[],
): WorkerReport {
  return {
    requestsInFlight,
    residentBytes: process.memoryUsage.rss(),
    knownPrompts: ledger.size,
    health: runtime.health(),
    slots: runtime.slots().map(({ status, current }) => {
      const { key, ...rest } = status;
      return { ...rest, principal: key.principal, plugin: key.plugin, version: current.metadata.version };
    }),
    upstreams: view.targets.map(({ route, upstream }) => ({ name: route.name, breaker: upstream.breaker.state })),
    recent,
  };
}

/**
 * The growth of the heap until the next full collection, in percent of the live heap. V8 counts buffers, which are not
 * in the heap, toward this growth. With its own choice, a few bodies of some hundred KB start a full collection.
 */
const HEAP_GROWING_PERCENT = 400;

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWING_PERCENT}`);
  serveWorker(process as Port, () => process.exit(0));
  // The terminal's signals reach every process of the group; the primary closes its workers itself.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
  process.on('disconnect', () => process.exit(1));
  // The primary must not send messages before this module is loaded.
  process.send?.(READY);
}
