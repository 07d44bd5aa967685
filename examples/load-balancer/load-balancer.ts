/** The load balancer: node:http in, undici out, and the plugins of a runtime in between. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type ObserveStage, prometheusSink, WasmtimeRuntime } from 'cc-lb-runtime-wasmtime';
import { Registry } from 'prom-client';
import { Agent } from 'undici';
import { CacheLedger } from './cache-ledger.ts';
import { Exchange, type LogEntry, type Surroundings } from './exchange.ts';
import { RequestMetrics } from './metrics.ts';
import { Publisher, type Routes, type View } from './routes.ts';

/** How a load balancer is set up; everything has a default. */
export interface LoadBalancerOptions {
  /** The runtime's config; without one, plugins may not leave their upstream's origin. */
  readonly engine?: ConstructorParameters<typeof WasmtimeRuntime>[0];
  /** Bytes of a request's body. */
  readonly maxBodyBytes?: number | undefined;
  /** Requests at once; more are answered 503 with Retry-After. */
  readonly maxRequests?: number | undefined;
  /** Told of what the plugins are told of, after them. */
  readonly observers?: readonly ObserveStage[] | undefined;
  readonly log?: ((entry: LogEntry) => void) | undefined;
}

/** Where a server listens. */
export interface Address {
  readonly host?: string | undefined;
  /** 0, the default, is any free one. */
  readonly port?: number | undefined;
}

const OVERLOADED = JSON.stringify({ type: 'error', error: { type: 'overloaded_error', message: 'too many requests' } });

/** A load balancer, from its first `publish` and `listen` to its `close`. */
export class LoadBalancer {
  readonly runtime: WasmtimeRuntime;
  readonly registry = new Registry();
  readonly #publisher: Publisher;
  readonly #dispatcher = new Agent();
  readonly #server: Server;
  readonly #exchanges = new Set<Exchange>();
  readonly #metrics = new RequestMetrics(this.registry);
  readonly #around: Surroundings;
  readonly #maxRequests: number;
  #closing = false;

  constructor(options: LoadBalancerOptions = {}) {
    const { engine, maxBodyBytes = 32 * 1024 * 1024, maxRequests = 1_000, log = logToStderr } = options;
    this.#around = { dispatcher: this.#dispatcher, ledger: new CacheLedger(), maxBodyBytes, log };
    this.#maxRequests = maxRequests;
    this.runtime = new WasmtimeRuntime(
      { shapeOriginPolicy: 'selected-upstream-origin', ...engine },
      { metrics: prometheusSink(this.registry) },
    );
    this.#publisher = new Publisher(this.runtime, options.observers ?? []);
    this.#server = createServer((request, response) => void this.#handle(request, response));
    // Otherwise a client that asks first whether its body is welcome would be told so unseen.
    this.#server.on('checkContinue', (request, response) => void this.#handle(request, response));
  }

  /** What new requests see. */
  get view(): View {
    return this.#publisher.view;
  }

  /** Brings routes into service while requests are answered. Rejects, and goes on as before, if a plugin is refused. */
  publish(routes: Routes): Promise<View> {
    return this.#publisher.publish(routes);
  }

  /** Begins to listen; gives the address to send requests to. */
  listen(address: Address = {}): Promise<string> {
    return listening(this.#server, address);
  }

  /** Stops accepting, gives running requests `graceMs`, then cuts them off. Ends with everything released. */
  async close({ graceMs = 10_000 }: { graceMs?: number } = {}): Promise<void> {
    this.#closing = true;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    const timer = setTimeout(() => {
      for (const exchange of this.#exchanges) exchange.abandon('the load balancer shuts down');
      this.#server.closeAllConnections();
    }, graceMs);
    await closed;
    clearTimeout(timer);
    await this.#dispatcher.destroy();
    await this.runtime[Symbol.asyncDispose]();
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (this.#closing) response.shouldKeepAlive = false;
    if (this.#exchanges.size >= this.#maxRequests) {
      const headers = { 'content-type': 'application/json', 'retry-after': '1', connection: 'close' };
      response.writeHead(503, headers).end(OVERLOADED);
      return;
    }
    const begun = performance.now();
    const exchange = new Exchange(this.#around, this.view, request, response);
    this.#exchanges.add(exchange);
    this.#metrics.begun();
    const status = await exchange.run();
    this.#exchanges.delete(exchange);
    this.#metrics.ended(status, (performance.now() - begun) / 1000);
  }
}

/** Begins to listen; gives the URL of the server. */
export function listening(server: Server, { host = '127.0.0.1', port = 0 }: Address = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      const { address, port, family } = server.address() as AddressInfo;
      resolve(`http://${family === 'IPv6' ? `[${address}]` : address}:${port}`);
    });
  });
}

function logToStderr({ level, requestId, message, error }: LogEntry): void {
  const cause = error instanceof Error ? error.message : String(error);
  console.error(JSON.stringify({ time: new Date().toISOString(), level, requestId, message, cause }));
}
