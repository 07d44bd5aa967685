/** One request on its way: client → filters → shape → upstream, and back by `relay.ts`. */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import {
  ClosedError,
  type ObserveEvent,
  outcomeToHttp,
  type Principal,
  type RequestContext,
  type ShapedRequest,
  type Unavailable,
  type Upstream,
  WasmtimeRuntimeError,
} from 'cc-lb-runtime-wasmtime';
import { type Dispatcher, request as send } from 'undici';
import { readRequest } from './body.ts';
import { type CacheLedger, type Prompt, promptOf } from './cache-ledger.ts';
import { endToEnd, headerValue, pairs } from './headers.ts';
import { Refusal } from './refusal.ts';
import { type Answer, relay } from './relay.ts';
import type { Plugins, UpstreamRoute, View } from './routes.ts';
import { NO_USAGE, type Usage, type UsageReader, usageReader } from './usage.ts';

/** Something that an operator should hear of. */
export interface LogEntry {
  readonly level: 'warn' | 'error';
  readonly requestId: string;
  readonly message: string;
  readonly error: unknown;
}

/** What every exchange of a load balancer shares. */
export interface Surroundings {
  readonly dispatcher: Dispatcher;
  readonly ledger: CacheLedger;
  readonly maxBodyBytes: number;
  readonly log: (entry: LogEntry) => void;
}

/** The request as plugins see it, and as the ledger does. */
interface Read {
  readonly context: RequestContext;
  readonly prompt: Prompt | null;
}

/** Counted where the client left before it was told anything. */
const CLIENT_LEFT = 499;
/** After these nothing can have reached the upstream, and the next one may be asked. */
const NEVER_SENT = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'UND_ERR_CONNECT_TIMEOUT']);
/** Segments by which a path would leave the base URL that it is appended to. */
const DOT_SEGMENTS = /(^|[/\\])(\.|%2e){2}([/\\]|$)/i;

/** One request and its answer. */
export class Exchange {
  readonly #around: Surroundings;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #requestId = randomUUID();
  readonly #abandoned = new AbortController();
  /** One view for the whole exchange, whatever is published meanwhile. */
  readonly #view: View;
  readonly #principal: Principal | undefined;
  readonly #plugins: Plugins;
  #usage: UsageReader | undefined;

  constructor(around: Surroundings, view: View, request: IncomingMessage, response: ServerResponse) {
    this.#around = around;
    this.#request = request;
    this.#response = response;
    this.#view = view;
    this.#principal = view.principalOf(keyOf(request));
    this.#plugins = view.pluginsOf(this.#principal);
    response.on('error', () => this.abandon('the connection failed'));
    response.once('close', () => {
      if (!response.writableFinished) this.abandon('the client has left');
    });
  }

  /** Gives up: what is under way at an upstream or in a plugin is cancelled, and the connection cut. */
  abandon(why: string): void {
    this.#abandoned.abort(new Error(why));
    this.#response.destroy();
  }

  /** Answers the request, whatever happens. Gives the status of the answer. */
  async run(): Promise<number> {
    const begun = performance.now();
    const downstreamUserAgent = this.#request.headers['user-agent'] ?? null;
    this.#observe({ type: 'request_started', requestId: this.#requestId, downstreamUserAgent });
    try {
      await this.#serve();
    } catch (error) {
      this.#fail(error);
    }
    const status = this.#response.headersSent ? this.#response.statusCode : CLIENT_LEFT;
    const durationMs = Math.round(performance.now() - begun);
    this.#observe({ type: 'request_finished', status, ...this.#usageSoFar(), durationMs });
    return status;
  }

  async #serve(): Promise<void> {
    const principal = this.#principal;
    if (principal === undefined) throw new Refusal(401, 'authentication_error', 'no principal has this key');
    this.#observe({ type: 'authn_complete', principalId: principal.id, principalKind: principal.kind });

    const { context, prompt } = await this.#read();
    const signal = this.#abandoned.signal;
    const { chain } = this.#plugins;
    const routed = await chain.filterAsync(context, principal, this.#candidates(prompt), { signal });
    for (const { error } of routed.stages) if (error !== undefined) this.#log('warn', 'a filter failed', error);
    if (routed.kind === 'unavailable') return this.#unavailable(routed);

    for (const [index, { upstreamId }] of routed.candidates.entries()) {
      const upstream = this.#view.upstreams.find(({ id }) => id === upstreamId)!;
      const shaped = await chain.shapeAsync(context, addressOf(upstream), principal, { signal });
      if (shaped.kind === 'unavailable') return this.#unavailable(shaped);
      if (shaped.kind === 'passed-through' && shaped.error) this.#log('warn', 'a shape failed', shaped.error);
      this.#observe({ type: 'upstream_chosen', upstream: addressOf(upstream) });
      let answer: Answer;
      try {
        answer = await this.#ask(upstream, shaped.request);
      } catch (error) {
        if (index === routed.candidates.length - 1 || !NEVER_SENT.has(codeOf(error))) throw error;
        this.#log('warn', `upstream ${upstream.name} cannot be reached`, error);
        continue;
      }
      await this.#relay(answer, upstream, context, principal);
      const { cacheReadInputTokens, cacheCreationInputTokens } = this.#usageSoFar();
      const cached = (cacheReadInputTokens ?? 0) + (cacheCreationInputTokens ?? 0);
      this.#around.ledger.learn(upstream.id, prompt, cached);
      return;
    }
  }

  async #read(): Promise<Read> {
    const { method = 'GET', url = '/', rawHeaders } = this.#request;
    const questionMark = url.indexOf('?');
    const path = questionMark < 0 ? url : url.slice(0, questionMark);
    if (!path.startsWith('/') || DOT_SEGMENTS.test(path)) {
      throw new Refusal(400, 'invalid_request_error', 'the target must be a path without dot segments');
    }
    const body = await readRequest(this.#request, this.#response, this.#around.maxBodyBytes);
    const { model, service_tier: tier, ...message } = parsed(body);
    const context: RequestContext = {
      requestId: this.#requestId,
      method,
      path,
      query: questionMark < 0 ? null : url.slice(questionMark + 1),
      headers: endToEnd(rawHeaders),
      body,
      canonicalModelId: typeof model === 'string' ? model : '',
      serviceTier: typeof tier === 'string' ? tier : null,
    };
    return { context, prompt: promptOf({ model, ...message }) };
  }

  #candidates(prompt: Prompt | null) {
    const observedAtUnixSecs = Math.floor(Date.now() / 1000);
    return this.#view.inTurn().map(({ id, name }) => ({
      upstreamId: id,
      name,
      kind: 'anthropic_api_key',
      observedAtUnixSecs,
      predictedCacheReadTokens: this.#around.ledger.predict(id, prompt),
    }));
  }

  async #ask(upstream: UpstreamRoute, { url, method, headers, body }: ShapedRequest): Promise<Answer> {
    // Uncompressed, because usage is read from the answer and transforms need it.
    const lines = [...headers.filter(([name]) => name !== 'accept-encoding'), ['accept-encoding', 'identity']];
    // The upstream's key goes to the upstream alone, wherever a plugin may point.
    if (upstream.apiKey !== undefined && url.origin === new URL(upstream.baseUrl).origin) {
      lines.push(['x-api-key', upstream.apiKey]);
    }
    const answer = await send(url, {
      dispatcher: this.#around.dispatcher,
      method: method as Dispatcher.HttpMethod,
      headers: lines.flat(),
      body: body.length === 0 ? null : body,
      signal: this.#abandoned.signal,
      responseHeaders: 'raw',
    });
    // undici's types do not tell that raw headers are a flat list.
    return { status: answer.statusCode, headers: pairs(answer.headers as unknown as string[]), body: answer.body };
  }

  async #relay(answer: Answer, upstream: UpstreamRoute, context: RequestContext, principal: Principal): Promise<void> {
    const usage = usageReader(headerValue(answer.headers, 'content-type'));
    this.#usage = usage;
    const exchange = {
      requestId: this.#requestId,
      principal,
      upstream: addressOf(upstream),
      requestMethod: context.method,
      requestPath: context.path,
      canonicalModelId: context.canonicalModelId ?? '',
      status: answer.status,
      headers: answer.headers,
    };
    const client = {
      response: this.#response,
      signal: this.#abandoned.signal,
      plugins: this.#plugins,
      maxBodyBytes: this.#around.maxBodyBytes,
      pluginFailed: (message: string, error: Error) => {
        this.#log('warn', message, error);
        this.#observeError('plugin', error);
      },
    };
    await relay(answer, exchange, client, (body) => this.#metered(body, usage));
  }

  /** The same bytes, counted: each chunk that passes is an event for the observers. */
  async *#metered(body: Readable, usage: UsageReader): AsyncGenerator<Buffer> {
    let batchIndex = 0;
    for await (const chunk of body as AsyncIterable<Buffer>) {
      const eventCount = usage.feed(chunk);
      this.#observe({ type: 'chunk', batchIndex: batchIndex++, eventCount, totalBytes: chunk.length });
      yield chunk;
    }
  }

  #usageSoFar(): Usage {
    return this.#usage?.usage() ?? NO_USAGE;
  }

  #unavailable(outcome: Unavailable): void {
    const { status, headers, body } = outcomeToHttp(outcome);
    if (outcome.error !== undefined) this.#observeError('plugin', outcome.error);
    this.#response.writeHead(status, headers).end(body);
  }

  /** Tells the client that something went wrong; never what a plugin or an upstream said. */
  #fail(error: unknown): void {
    if (this.#abandoned.signal.aborted) return;
    if (!(error instanceof Refusal)) {
      this.#log('error', 'a request failed', error);
      this.#observeError(error instanceof WasmtimeRuntimeError ? 'plugin' : 'upstream', error);
    }
    if (this.#response.headersSent) {
      // Half an answer must not look whole.
      this.#response.destroy();
      return;
    }
    const { status, type, message } = toldOf(error);
    const headers: Record<string, string> = { 'content-type': 'application/json' };
    // What is left of a request that was refused on sight is not read, and nothing can follow it.
    if (!this.#request.complete) headers.connection = 'close';
    const body = JSON.stringify({ type: 'error', error: { type, message } });
    this.#response.writeHead(status, headers).end(body);
  }

  #observeError(source: string, error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    this.#observe({ type: 'error', code: codeOf(error) || 'unknown', message, source });
  }

  /** Observers are told on this thread, so that they hear of events in order; a slot's deadline bounds what they cost. */
  #observe(event: ObserveEvent): void {
    try {
      for (const error of this.#plugins.chain.observe(event)) this.#log('warn', 'an observer failed', error);
    } catch (error) {
      this.#log('error', 'an event could not be told', error);
    }
  }

  #log(level: LogEntry['level'], message: string, error: unknown): void {
    this.#around.log({ level, requestId: this.#requestId, message, error });
  }
}

function addressOf(upstream: UpstreamRoute): Upstream {
  return { kind: 'anthropic_direct', baseUrl: upstream.baseUrl };
}

function toldOf(error: unknown): { status: number; type: string; message: string } {
  if (error instanceof Refusal) return error;
  if (error instanceof ClosedError) return { status: 503, type: 'api_error', message: 'shutting down' };
  return { status: 502, type: 'api_error', message: 'the upstream did not answer' };
}

function keyOf({ headers }: IncomingMessage): string {
  const key = headers['x-api-key'];
  if (typeof key === 'string') return key;
  return /^Bearer (.+)$/i.exec(headers.authorization ?? '')?.[1] ?? '';
}

function parsed(body: Buffer): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(body.toString());
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

function codeOf(error: unknown): string {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === 'string' ? code : '';
}
