/** The load balancer: a node:http server, the plugins of a runtime, and undici to the upstreams. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { type Admission, prometheusSink, WasmtimeRuntime } from 'cc-lb-runtime-wasmtime';
import { Registry } from 'prom-client';
import { Agent } from 'undici';
import { Batch } from './batch.ts';
import { CacheLedger } from './cache-ledger.ts';
import { connector } from './connector.ts';
import { Exchange, type Shared } from './exchange.ts';
import { FairShares } from './fair-shares.ts';
import { KeepAlive } from './keep-alive.ts';
import { type Address, listening } from './listening.ts';
import { RequestMetrics } from './metrics.ts';
import { completed, type Limits, type LoadBalancerOptions, type Timeouts } from './options.ts';
import { Publisher } from './publisher.ts';
import type { LogEntry } from './record.ts';
import { Refusal } from './refusal.ts';
import type { PluginRoute, Routes } from './routes.ts';
import { Upstreams } from './upstream.ts';
import type { View } from './view.ts';

/** Bytes of a plugin's answer beside its body. */
const ENVELOPE_BYTES = 1024 * 1024;
/** Interval of the check for requests that take too long. */
const CHECK_MS = 5_000;
/** Time for responses to emit `close` after their connections are closed, and for the plugin calls of closed requests. */
const END_MS = 1_000;
/** Requests that may wait for earlier ones on their connection. A client that sends more is disconnected. */
const MAX_PIPELINED = 16;
const OVERLOADED = new Refusal(503, 'overloaded_error', 'too many requests', 1);
const TOO_MANY_HEADERS = new Refusal(431, 'invalid_request_error', 'too many header lines');

/** A load balancer. Call `publish` and `listen` to start it, and `close` to end it. */
export class LoadBalancer {
  readonly runtime: WasmtimeRuntime;
  readonly registry = new Registry();
  readonly #publisher: Publisher;
  readonly #upstreams: Upstreams;
  readonly #agent: Agent;
  readonly #server: Server;
  readonly #exchanges = new Set<Exchange>();
  readonly #metrics: RequestMetrics;
  readonly #shared: Shared;
  readonly #limits: Limits;
  /** The running requests, by principal. */
  readonly #running: FairShares;
  /** The number of requests that wait for earlier ones, by connection. */
  readonly #waiting = new WeakMap<Socket, number>();
  #connections = 0;
  #isClosing = false;
  /** Resolves `close` when the last request has ended. */
  #whenIdle = () => {};

  constructor(options: LoadBalancerOptions = {}) {
    const { engine, observers = [], log = logToStderr, accessLog } = options;
    const { limits, timeouts, breaker } = completed(options);
    const { connectMs, headersMs, idleMs } = timeouts;
    this.#limits = limits;
    this.#running = new FairShares(limits.requests);
    this.#agent = new Agent({ connect: connector(connectMs), headersTimeout: headersMs, bodyTimeout: idleMs });
    this.#upstreams = new Upstreams({ timeouts, breaker, connections: limits.upstreamConnections });
    this.#shared = {
      dispatcher: this.#agent,
      ledger: new CacheLedger({ onCached: options.onCached }),
      keepAlive: new KeepAlive(timeouts.streamCommentMs),
      maxBodyBytes: limits.bodyBytes,
      buffered: new FairShares(limits.bufferedBytes),
      log,
      accessLog,
      routing: new Batch((run) => void setImmediate(run)),
      events: new Batch((run) => void setImmediate(() => setImmediate(run))),
    };
    this.#metrics = new RequestMetrics(this.registry, () => {
      this.runtime.publishPoolMetrics();
      return this.#exchanges.size;
    });
    // Larger answers block the event loop for longer than the requests and answers that may be sent.
    const outputBodyBytes = limits.bodyBytes + ENVELOPE_BYTES;
    this.runtime = new WasmtimeRuntime(
      {
        shapeOriginPolicy: 'selected-upstream-origin',
        ...engine,
        wireBounds: { outputBodyBytes, ...engine?.wireBounds },
      },
      { metrics: prometheusSink(this.registry) },
    );
    // Created now, so that they exist when the registry is first read.
    this.runtime.publishPoolMetrics();
    this.#publisher = new Publisher({ runtime: this.runtime, upstreams: this.#upstreams, observers });
    this.#server = this.#createServer(timeouts);
  }

  /** The view of new requests. */
  get view(): View {
    return this.#publisher.view;
  }

  /** The number of running requests. */
  get requestsInFlight(): number {
    return this.#exchanges.size;
  }

  /** The predictions of what upstreams have cached. */
  get ledger(): CacheLedger {
    return this.#shared.ledger;
  }

  /** Deploys routes while requests run. Rejects without a change if a plugin is rejected. */
  publish(routes: Routes): Promise<View> {
    return this.#publisher.publish(routes);
  }

  /** Admits a plugin for `commit`. Rejects if it is rejected. */
  admit(plugin: PluginRoute): Promise<Admission> {
    return this.#publisher.admit(plugin);
  }

  /** Deploys routes whose plugins were admitted. */
  commit(routes: Routes, admitted: Admission[]): Promise<View> {
    return this.#publisher.commit(routes, admitted);
  }

  /** Starts to listen; returns the address for requests. */
  listen(address: Address = {}): Promise<string> {
    return listening(this.#server, address);
  }

  /**
   * Stops accepting requests, waits `graceMs` for running ones, then closes them. Resolves when all resources are
   * released, except those of plugin calls that still run or wait.
   */
  async close({ graceMs = 10_000 }: { graceMs?: number } = {}): Promise<void> {
    this.#isClosing = true;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    const timer = setTimeout(() => {
      for (const exchange of this.#exchanges) exchange.abandon();
      this.#server.closeAllConnections();
    }, graceMs);
    await closed;
    clearTimeout(timer);
    // The responses of closed connections emit `close` a little later.
    if (this.#exchanges.size > 0) {
      const idle = new Promise<void>((resolve) => (this.#whenIdle = resolve));
      await Promise.race([idle, delay(END_MS, undefined, { ref: false })]);
    }
    this.#shared.events.flush();
    this.#shared.keepAlive.stop();
    await Promise.all([this.#agent.destroy(), this.#upstreams.destroy()]);
    // Plugin calls of abandoned requests may wait in the queue for many deadlines.
    await Promise.race([this.runtime[Symbol.asyncDispose](), delay(END_MS, undefined, { ref: false })]);
  }

  /** Creates the server, which does not listen yet. */
  #createServer(timeouts: Timeouts): Server {
    const handle = (request: IncomingMessage, response: ServerResponse) => this.#inTurn(request, response);
    const server = createServer(
      {
        maxHeaderSize: this.#limits.headerBytes,
        // Node requires that it is not longer than the time limit of the whole request.
        headersTimeout: Math.min(timeouts.requestHeadersMs, timeouts.requestMs),
        requestTimeout: timeouts.requestMs,
        keepAliveTimeout: timeouts.keepAliveMs,
        connectionsCheckingInterval: Math.min(CHECK_MS, timeouts.requestHeadersMs),
        noDelay: true,
      },
      handle,
    );
    // Node drops headers beyond its limit silently, so the limit is disabled and `#handle` counts headers.
    server.maxHeadersCount = 0;
    // In a worker of node:cluster, `maxConnections` returns excess connections to the primary, which assigns them again.
    server.on('connection', (socket) => this.#connected(socket));
    // `destroyStalled` decides about connections with a request.
    server.timeout = timeouts.idleMs;
    // Without this listener, Node would answer `Expect: 100-continue` before the limit of the body is checked.
    server.on('checkContinue', handle);
    return server;
  }

  #connected(socket: Socket): void {
    this.#connections++;
    socket.once('close', () => this.#connections--);
    if (this.#connections > this.#limits.connections) socket.destroy();
  }

  /**
   * Handles a request after the earlier ones of its connection. Node emits no `close` for a response that still waits
   * for its turn, so a request that never has one must not be started.
   */
  #inTurn(request: IncomingMessage, response: ServerResponse): void {
    if (response.socket !== null) {
      this.#handle(request, response);
      return;
    }
    const { socket } = request;
    const waiting = this.#waiting.get(socket) ?? 0;
    if (waiting === MAX_PIPELINED) {
      socket.destroy();
      return;
    }
    this.#waiting.set(socket, waiting + 1);
    response.once('socket', () => {
      this.#waiting.set(socket, this.#waiting.get(socket)! - 1);
      this.#handle(request, response);
    });
  }

  #handle(request: IncomingMessage, response: ServerResponse): void {
    if (this.#isClosing) response.shouldKeepAlive = false;
    const exchange = new Exchange(this.#shared, this.view, request, response);
    this.#exchanges.add(exchange);
    const { principalId } = exchange;
    const runs = this.#running.take(principalId, 1);
    response.on('timeout', destroyStalled);
    response.on('close', () => {
      this.#exchanges.delete(exchange);
      if (runs) this.#running.release(principalId, 1);
      this.#metrics.ended(exchange);
      exchange.closed();
      // The connection has become idle, and nothing else would close it before its time limit.
      if (this.#isClosing) setImmediate(() => this.#server.closeIdleConnections());
      if (this.#exchanges.size === 0) this.#whenIdle();
    });
    if (!runs) exchange.start(OVERLOADED);
    else exchange.start(request.rawHeaders.length > 2 * this.#limits.headers ? TOO_MANY_HEADERS : undefined);
  }
}

/**
 * Closes the connection of a client that has not read for the time limit. The connection of a request without unread
 * bytes is kept: it waits for plugins or its upstream, which have their own time limits.
 */
function destroyStalled(this: ServerResponse): void {
  if (this.writableLength > 0) this.destroy();
}

function logToStderr({ level, requestId, message, error }: LogEntry): void {
  const cause = error instanceof Error ? error.message : String(error);
  console.error(JSON.stringify({ time: new Date().toISOString(), level, requestId, message, cause }));
}
