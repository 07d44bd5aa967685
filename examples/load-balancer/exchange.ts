/** A request and its answer: client → filters → shape → upstream → client. */
import { randomUUID } from 'node:crypto';
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import {
  type AsyncCallOptions,
  type RequestContext,
  type StageReport,
  type TransformContext,
  type Unavailable,
  WasmtimeRuntimeError,
} from 'cc-lb-runtime-wasmtime';
import type { Dispatcher } from 'undici';
import {
  type Answer,
  type Recipient,
  sendOutcome,
  TransformedAnswer,
  TransformedEvents,
  UnchangedAnswer,
} from './answer.ts';
import { Attempt, type AttemptOwner } from './attempt.ts';
import type { Batch } from './batch.ts';
import { type Body, readBody, TOO_MANY_BYTES } from './body.ts';
import type { CacheLedger } from './cache-ledger.ts';
import { isUnsendable, noneAvailable, refusalOf } from './failure.ts';
import { type FairShares, Holding } from './fair-shares.ts';
import { apiKeyOf, endToEnd, headerBytes, linesOf } from './headers.ts';
import { type KeepAlive, takesComments } from './keep-alive.ts';
import { Observation } from './observation.ts';
import { type OutboundRequest, shapedRequest, unshapedRequest } from './outbound.ts';
import { Prompt } from './prompt.ts';
import type { LogEntry, RequestRecord } from './record.ts';
import { Refusal, sendRefusal } from './refusal.ts';
import type { PrincipalRoute } from './routes.ts';
import { splitTarget, targetProblem } from './target.ts';
import { inContext, methodsInContext } from './tracing.ts';
import { isEventStream, NO_USAGE, type Usage, type UsageReader, usageReader } from './usage.ts';
import { candidatesOf, type Plugins, type Target, type View } from './view.ts';

/** The context of all exchanges of a load balancer. */
export interface Shared {
  /** Connections for requests of shapes to other origins than those of the upstreams. */
  readonly dispatcher: Dispatcher;
  readonly ledger: CacheLedger;
  readonly keepAlive: KeepAlive;
  readonly maxBodyBytes: number;
  /** The bytes of all bodies in memory. */
  readonly buffered: FairShares;
  readonly log: (entry: LogEntry) => void;
  readonly accessLog: ((record: RequestRecord) => void) | undefined;
  /** Routes the requests that were read in one iteration of the event loop. */
  readonly routing: Batch;
  /** Reports events to observers after the requests of the iteration are sent, in their order. */
  readonly events: Batch;
}

/** The status of a request whose client disconnected before the answer. */
const CLIENT_LEFT = 499;
/** Body size in bytes from which plugin calls can be aborted: smaller ones usually run on this thread. */
const CANCELLED_FROM = 512 * 1024;
const CLIENT_LEFT_REASON = new Error('the client disconnected');
const NO_STAGES: readonly StageReport[] = [];
/** The body of a request never changes. */
const SHARED_BODY: AsyncCallOptions = { sharesBody: true };

/** One request and its answer. */
export class Exchange implements AttemptOwner {
  readonly #shared: Shared;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #requestId = randomUUID();
  /** The view of the complete exchange, also if another one is published meanwhile. */
  readonly #view: View;
  readonly #principal: PrincipalRoute | undefined;
  readonly #plugins: Plugins;
  /** Absent without observers. */
  readonly #observation: Observation | undefined;
  readonly #began = performance.now();
  readonly #memory: Holding;
  #body: Body | undefined;
  #context: RequestContext | undefined;
  #prompt: Prompt | undefined;
  #targets: readonly Target[] = [];
  #next = 0;
  #attempt: Attempt | undefined;
  #target: Target | undefined;
  #stages = NO_STAGES;
  #usage: UsageReader | undefined;
  /** Aborts plugin calls when the client disconnects; created on the first use. */
  #aborter: AbortController | undefined;
  #isClosed = false;

  constructor(shared: Shared, view: View, request: IncomingMessage, response: ServerResponse) {
    this.#shared = shared;
    this.#request = request;
    this.#response = response;
    this.#view = view;
    this.#principal = view.principalOf(apiKeyOf(request.headers));
    this.#plugins = view.pluginsOf(this.#principal);
    this.#memory = new Holding(shared.buffered, this.principalId);
    if (this.#plugins.hasObservers) {
      const log = (level: LogEntry['level'], message: string, error: unknown) => this.#log(level, message, error);
      this.#observation = new Observation(this.#plugins.chain, shared.events, log);
    }
  }

  /** The id of the principal; empty for an unknown key. */
  get principalId(): string {
    return this.#principal?.id ?? '';
  }

  /** Seconds since the request came. */
  get seconds(): number {
    return (performance.now() - this.#began) / 1_000;
  }

  /** The status of the answer. */
  get status(): number {
    return this.#response.headersSent ? this.#response.statusCode : CLIENT_LEFT;
  }

  /** Whether the complete answer was sent. */
  get isComplete(): boolean {
    return this.#response.writableFinished;
  }

  /**
   * Begins to answer the request: with `refusal` if there is one. What fails is answered too; the exchange ends when its
   * response closes.
   */
  start(refusal?: Refusal): void {
    try {
      this.#observation?.add({
        type: 'request_started',
        requestId: this.#requestId,
        downstreamUserAgent: this.#request.headers['user-agent'] ?? null,
      });
      if (refusal !== undefined) throw refusal;
      const principal = this.#principal;
      if (principal === undefined) throw new Refusal(401, 'authentication_error', 'no principal has this key');
      this.#observation?.add({ type: 'authn_complete', principalId: principal.id, principalKind: principal.kind });
      const problem = targetProblem(this.#request.url!);
      if (problem !== null) throw new Refusal(400, 'invalid_request_error', problem);
      // The response contains the request, with the upstream's key.
      if (this.#request.method === 'TRACE') throw new Refusal(501, 'invalid_request_error', 'TRACE is not supported');
      const { hasFilters, hasShape } = this.#plugins;
      const needsWhole = hasFilters || hasShape;
      readBody(
        this.#request,
        this.#response,
        { limit: this.#shared.maxBodyBytes, needsWhole, memory: this.#memory },
        inContext((body) => {
          if (needsWhole) this.#shared.routing.add(() => this.#route(body));
          else this.#route(body);
        }),
        (refusal) => this.fail(refusal),
      );
    } catch (error) {
      this.fail(error);
    }
  }

  /** Handles the close of the response: aborts running work, and reports the end to observers. */
  closed(): void {
    this.#isClosed = true;
    // A transform may complete the answer before its upstream does.
    this.#attempt?.abandon();
    if (!this.isComplete) this.#aborter?.abort(CLIENT_LEFT_REASON);
    this.#observation?.add({
      type: 'request_finished',
      status: this.status,
      ...this.#usageSoFar(),
      durationMs: Math.round(performance.now() - this.#began),
    });
    this.#shared.accessLog?.(this.#record());
    this.#memory.releaseAll();
    this.#release();
    this.#prompt = undefined;
  }

  /** Closes the connection. */
  abandon(): void {
    this.#response.destroy();
  }

  answered(attempt: Attempt, status: number, headers: IncomingHttpHeaders): Answer {
    const answer = this.#answerOf(attempt, status, headers);
    // The request is not sent again.
    this.#release();
    return answer;
  }

  #answerOf(attempt: Attempt, status: number, headers: IncomingHttpHeaders): Answer {
    // undici returns a list for a repeated header.
    const [type] = [headers['content-type']].flat();
    const isStream = isEventStream(type);
    const { chain, hasFilters, hasObservers, transformsEvents, transformsResponses } = this.#plugins;
    if (hasFilters || hasObservers) this.#usage = usageReader(type, this.#memory);
    const events = isStream && takesComments(headers) ? this.#shared.keepAlive.watch(this.#response) : undefined;
    const recipient: Recipient = {
      response: this.#response,
      resume: attempt.resume,
      memory: this.#memory,
      pluginFailed: (message, error) => this.#pluginFailed(message, error),
      failed: (error) => {
        attempt.abandon();
        this.fail(error);
      },
    };
    const isTransformed = isStream ? transformsEvents : transformsResponses;
    if (!isTransformed || this.#request.method === 'HEAD') {
      return new UnchangedAnswer(status, headers, recipient, events);
    }
    const context = this.#transformContext(attempt, status, headers);
    if (!isStream) {
      const { maxBodyBytes: maxBytes } = this.#shared;
      return new TransformedAnswer(chain, context, recipient, { maxBytes, signal: this.#signal() });
    }
    const outcome = chain.transformEvents(context);
    if (outcome.kind === 'transforming') return new TransformedEvents(outcome.transformer, context, recipient, events);
    if (outcome.error !== undefined) recipient.pluginFailed('an event transform failed', outcome.error);
    if (outcome.kind === 'passed-through') return new UnchangedAnswer(status, headers, recipient, events);
    // Reading the rest would cost the upstream's tokens.
    attempt.abandon();
    sendOutcome(this.#response, outcome);
    return DISCARDED;
  }

  received({ upstream }: Attempt, chunk: Buffer): void {
    if (this.#usage === undefined) return;
    const eventCount = this.#usage.feed(chunk);
    // A stream begins with the usage of the prompt.
    if (eventCount > 0) this.#recordCached(upstream.id);
    if (!this.#isClosed) this.#observation?.addChunk(chunk, eventCount);
  }

  completed({ upstream }: Attempt): void {
    this.#recordCached(upstream.id);
  }

  failed(attempt: Attempt, error: Error): void {
    if (this.#isClosed || this.#response.writableEnded) return;
    if (attempt.hasBegun || isUnsendable(error) || this.#next >= this.#targets.length) {
      this.fail(error);
      return;
    }
    this.#log('warn', `upstream ${this.#target!.route.name} cannot be reached`, error);
    this.#send().catch((reason) => this.fail(reason));
  }

  /** Responds with an error that contains no text of a plugin or an upstream. */
  fail(error: unknown): void {
    if (this.#isClosed) return;
    if (!(error instanceof Refusal)) {
      this.#log('error', 'a request failed', error);
      this.#observation?.addError(error instanceof WasmtimeRuntimeError ? 'plugin' : 'upstream', error);
    }
    // An incomplete answer must not look complete.
    if (this.#response.headersSent) this.#response.destroy();
    else sendRefusal(this.#request, this.#response, refusalOf(error));
  }

  #route(body: Body): void {
    if (this.#isClosed) return;
    this.#body = body;
    this.#targets = this.#view.inTurn(this.principalId);
    const routed = this.#plugins.hasFilters ? this.#filter() : this.#send();
    routed.catch((error) => this.fail(error));
  }

  async #filter(): Promise<void> {
    if (this.#targets.length === 0 && this.#view.targets.length > 0) throw noneAvailable();
    const prompt = new Prompt(this.#body as Buffer);
    this.#prompt = prompt;
    const candidates = candidatesOf(this.#targets, this.#shared.ledger, prompt);
    const options = this.#callOptions();
    const routed = await this.#plugins.chain.filterAsync(this.#contextOf(), this.#principal!, candidates, options);
    this.#stages = routed.stages;
    for (const { error } of routed.stages) if (error !== undefined) this.#log('warn', 'a filter failed', error);
    if (routed.kind === 'unavailable') return this.#unavailable(routed);
    if (routed.candidates.length < candidates.length) {
      const kept = new Set(routed.candidates.map(({ upstreamId }) => upstreamId));
      this.#targets = this.#targets.filter(({ route }) => kept.has(route.id));
    }
    return this.#send();
  }

  /** Sends the request to the next of the targets. */
  async #send(): Promise<void> {
    if (this.#isClosed) return;
    const target = this.#targets[this.#next++];
    if (target === undefined) {
      if (this.#view.targets.length > 0) throw noneAvailable();
      return this.#unavailable({ kind: 'unavailable', code: 'route_no_upstream_after_filter', status: 503 });
    }
    const { chain, hasShape, hasFilters, hasObservers } = this.#plugins;
    if (!hasShape) {
      const unshaped = unshapedRequest(this.#request, this.#body!, target, hasFilters || hasObservers);
      if (unshaped !== null) return this.#dispatch(target, unshaped);
    }
    const upstream = { kind: 'anthropic_direct', baseUrl: target.route.baseUrl } as const;
    const options = this.#callOptions();
    const shaped = await chain.shapeAsync(this.#contextOf(), upstream, this.#principal!, options);
    if (shaped.kind !== 'shaped' && shaped.error !== undefined) this.#log('warn', 'a shape failed', shaped.error);
    if (shaped.kind === 'unavailable') return this.#unavailable(shaped);
    const { body } = shaped.request;
    const request = shapedRequest(shaped.request, target);
    const bytes = headerBytes(request.headers) + (body === this.#body ? 0 : body.length);
    if (!this.#memory.take(bytes)) throw TOO_MANY_BYTES;
    return this.#dispatch(target, request);
  }

  /** Sends the request, or tries the next target if this one has no free connection anymore. */
  #dispatch(target: Target, request: OutboundRequest): Promise<void> | undefined {
    if (this.#isClosed) return;
    const { upstream, route } = target;
    if (!upstream.admits(this.principalId)) return this.#send();
    this.#observation?.add({
      type: 'upstream_chosen',
      upstream: { kind: 'anthropic_direct', baseUrl: route.baseUrl },
    });
    const isElsewhere = request.origin !== undefined && request.origin !== upstream.origin;
    const attempt = new Attempt(this, upstream, this.principalId, isElsewhere);
    this.#attempt = attempt;
    this.#target = target;
    const dispatcher = isElsewhere ? this.#shared.dispatcher : upstream.dispatcher;
    // The types of undici lack async iterables and methods beyond those of HTTP.
    dispatcher.dispatch(request as Dispatcher.DispatchOptions, methodsInContext(attempt));
  }

  #contextOf(): RequestContext {
    if (this.#context !== undefined) return this.#context;
    const { method = 'GET', url = '/', rawHeaders, headers } = this.#request;
    this.#context = {
      requestId: this.#requestId,
      method,
      ...splitTarget(url),
      headers: endToEnd(rawHeaders, headers.connection),
      body: this.#body as Buffer,
      canonicalModelId: this.#prompt?.model ?? '',
      serviceTier: this.#prompt?.serviceTier ?? null,
    };
    return this.#context;
  }

  #transformContext({ upstream }: Attempt, status: number, headers: IncomingHttpHeaders): TransformContext {
    const { method, path } = this.#contextOf();
    const { model } = this.#prompt ?? new Prompt(this.#body as Buffer);
    return {
      requestId: this.#requestId,
      principal: this.#principal!,
      upstream: { kind: 'anthropic_direct', baseUrl: upstream.baseUrl },
      requestMethod: method,
      requestPath: path,
      canonicalModelId: model,
      status,
      headers: linesOf(headers),
    };
  }

  /** Records the prompt when the answer first reports cached tokens: they are those of the prompt, so they are final. */
  #recordCached(upstreamId: string): void {
    if (this.#prompt === undefined) return;
    const { cacheReadInputTokens, cacheCreationInputTokens } = this.#usageSoFar();
    if (cacheReadInputTokens === null && cacheCreationInputTokens === null) return;
    const cached = (cacheReadInputTokens ?? 0) + (cacheCreationInputTokens ?? 0);
    this.#shared.ledger.record(upstreamId, this.#prompt, cached);
    this.#prompt = undefined;
  }

  /**
   * Releases the body. undici keeps what it sent until the answer is complete, and this exchange may be in the old
   * generation of V8's heap until a full collection.
   */
  #release(): void {
    this.#body = undefined;
    this.#context = undefined;
  }

  /** The signal for off-thread plugin calls. Calls for small requests finish before their client can disconnect. */
  #callOptions(): AsyncCallOptions {
    return (this.#body as Buffer).length < CANCELLED_FROM ? SHARED_BODY : { ...SHARED_BODY, signal: this.#signal() };
  }

  #signal(): AbortSignal {
    this.#aborter ??= new AbortController();
    return this.#aborter.signal;
  }

  #usageSoFar(): Usage {
    return this.#usage?.usage() ?? NO_USAGE;
  }

  #unavailable(outcome: Unavailable): void {
    if (this.#isClosed) return;
    if (outcome.error !== undefined) this.#observation?.addError('plugin', outcome.error);
    sendOutcome(this.#response, outcome);
  }

  #pluginFailed(message: string, error: Error): void {
    this.#log('warn', message, error);
    this.#observation?.addError('plugin', error);
  }

  #record(): RequestRecord {
    const { method = '', url = '' } = this.#request;
    return {
      requestId: this.#requestId,
      method,
      path: url,
      principal: this.#principal?.id ?? null,
      upstream: this.#target?.route.name ?? null,
      status: this.status,
      isComplete: this.isComplete,
      durationMs: Math.round(this.seconds * 1e6) / 1e3,
      decisions: this.#stages.map(({ plugin, output, error }) => ({
        plugin,
        kept: output?.keptUpstreamIds.length ?? null,
        reason: output?.reason ?? String(error),
      })),
      passedOver: Math.max(0, this.#next - 1),
      endedAt: Date.now(),
    };
  }

  #log(level: LogEntry['level'], message: string, error: unknown): void {
    this.#shared.log({ level, requestId: this.#requestId, message, error });
  }
}

/** The answer of an abandoned attempt, which receives nothing. */
const DISCARDED: Answer = { data: () => true, end() {} };
