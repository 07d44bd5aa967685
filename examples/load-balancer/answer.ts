/**
 * Forwards an upstream's answer to the client: unchanged, event by event through a transform, or completely through
 * one.
 */
import type { IncomingHttpHeaders, ServerResponse } from 'node:http';
import {
  outcomeToHttp,
  type PluginChain,
  type SseTransformer,
  type TransformContext,
  towardsClient,
  type Unavailable,
} from 'cc-lb-runtime-wasmtime';
import { TOO_MANY_BYTES } from './body.ts';
import { Chunks } from './chunks.ts';
import type { Holding } from './fair-shares.ts';
import { headerBytes, towardsClientUnchanged } from './headers.ts';
import type { EventStream } from './keep-alive.ts';

/** Receives the body of an answer. */
export interface Answer {
  /** Receives the next bytes; returns false to pause until `resume` is called. */
  data(chunk: Buffer): boolean;
  end(): void;
}

/** The recipient of an answer and of reports about it. */
export interface Recipient {
  readonly response: ServerResponse;
  /** Resumes after `data` returned false. */
  readonly resume: () => void;
  /** The bytes that the exchange has in memory. */
  readonly memory: Holding;
  /** A plugin failed; the failure policy decides about the answer. */
  readonly pluginFailed: (message: string, error: Error) => void;
  /** The answer cannot be completed. */
  readonly failed: (error: unknown) => void;
}

/** Statuses whose messages have no body, and so no content-length. */
const BODILESS = new Set([204, 304]);

/** Forwards every chunk unchanged. A body of one chunk is sent together with its head. */
export class UnchangedAnswer implements Answer {
  readonly #response: ServerResponse;
  readonly #resume: () => void;
  readonly #events: EventStream | undefined;
  readonly #length: number;
  #whole: Buffer | undefined;

  constructor(status: number, headers: IncomingHttpHeaders, { response, resume }: Recipient, events?: EventStream) {
    this.#response = response;
    this.#resume = resume;
    this.#events = events;
    this.#length = Number(headers['content-length']);
    response.writeHead(status, towardsClientUnchanged(status, headers));
    // The answer is complete. Its content-length is that of another one, and undici reports the missing body as an error.
    if (BODILESS.has(status)) response.end();
    else events?.begin();
  }

  data(chunk: Buffer): boolean {
    if (chunk.length === this.#length) {
      this.#whole = chunk;
      return true;
    }
    this.#events?.sent(chunk);
    if (this.#response.write(chunk)) return true;
    this.#response.once('drain', this.#resume);
    return false;
  }

  end(): void {
    if (this.#whole === undefined) this.#response.end();
    else this.#response.end(this.#whole);
  }
}

/**
 * Transforms the events of a stream with the shape plugin. What it writes for a slow client waits in the response alone,
 * where it is counted: a paused transformer would transform one more event, which may have many megabytes.
 */
export class TransformedEvents implements Answer {
  readonly #transformer: SseTransformer;
  readonly #recipient: Recipient;
  /** Bytes that wait for the client. */
  #waitingBytes = 0;

  constructor(transformer: SseTransformer, context: TransformContext, recipient: Recipient, events?: EventStream) {
    const { response, pluginFailed, failed } = recipient;
    this.#transformer = transformer;
    this.#recipient = recipient;
    response.writeHead(context.status, towardsClient(context.headers, { replacedBody: true }).flat());
    events?.begin();
    transformer.on('data', (chunk: Buffer) => {
      events?.sent(chunk);
      if (!response.write(chunk)) this.#waits(chunk.length);
    });
    transformer.on('error', failed);
    transformer.on('end', () => {
      if (transformer.failure !== undefined) pluginFailed('an event transform failed', transformer.failure);
      response.end();
    });
    response.once('close', () => transformer.destroy());
  }

  data(chunk: Buffer): boolean {
    const { response, resume } = this.#recipient;
    if (this.#transformer.destroyed) return true;
    const hasSpace = this.#transformer.write(chunk);
    if (response.writableNeedDrain) response.once('drain', resume);
    else if (hasSpace) return true;
    else this.#transformer.once('drain', resume);
    return false;
  }

  end(): void {
    this.#transformer.end();
  }

  /** Counts bytes until the client has read them. */
  #waits(bytes: number): void {
    const { response, memory, failed } = this.#recipient;
    if (!memory.take(bytes)) {
      failed(TOO_MANY_BYTES);
      return;
    }
    if (this.#waitingBytes === 0) {
      response.once('drain', () => {
        memory.release(this.#waitingBytes);
        this.#waitingBytes = 0;
      });
    }
    this.#waitingBytes += bytes;
  }
}

/** Limits of a complete answer. */
export interface TransformLimits {
  /** Maximum bytes of the answer. */
  readonly maxBytes: number;
  /** Aborts the transform. */
  readonly signal: AbortSignal;
}

/** Transforms a complete answer with the shape plugin. The answer is buffered. */
export class TransformedAnswer implements Answer {
  readonly #chain: PluginChain;
  readonly #context: TransformContext;
  readonly #recipient: Recipient;
  readonly #maxBytes: number;
  readonly #signal: AbortSignal;
  readonly #chunks = new Chunks();
  #isRefused = false;

  constructor(
    chain: PluginChain,
    context: TransformContext,
    recipient: Recipient,
    { maxBytes, signal }: TransformLimits,
  ) {
    this.#chain = chain;
    this.#context = context;
    this.#recipient = recipient;
    this.#maxBytes = maxBytes;
    this.#signal = signal;
  }

  data(chunk: Buffer): boolean {
    if (this.#isRefused) return true;
    const isTooLarge = this.#chunks.size + chunk.length > this.#maxBytes;
    if (!isTooLarge && this.#recipient.memory.take(chunk.length)) {
      this.#chunks.add(chunk);
      return true;
    }
    this.#isRefused = true;
    this.#chunks.clear();
    const tooLarge = new Error(`the upstream's answer is larger than ${this.#maxBytes} bytes`);
    this.#recipient.failed(isTooLarge ? tooLarge : TOO_MANY_BYTES);
    return true;
  }

  end(): void {
    if (!this.#isRefused) this.#transform(this.#chunks.take()).catch(this.#recipient.failed);
  }

  async #transform(body: Buffer): Promise<void> {
    const { response, memory, pluginFailed } = this.#recipient;
    // The body comes first: V8 of Node 20 is slow to add a field to a copy, and to read the result.
    const outcome = await this.#chain.transformResponseAsync({ body, ...this.#context }, { signal: this.#signal });
    if (outcome.kind !== 'transformed' && outcome.error !== undefined) {
      pluginFailed('a response transform failed', outcome.error);
    }
    if (outcome.kind === 'unavailable') {
      sendOutcome(response, outcome);
      return;
    }
    const sent = outcome.kind === 'transformed' ? outcome : { body, ...this.#context };
    const lines = towardsClient(sent.headers, { replacedBody: sent.body !== body }).flat();
    if (sent.body !== body) memory.release(body.length);
    if (!memory.take(headerBytes(lines) + (sent.body === body ? 0 : sent.body.length))) throw TOO_MANY_BYTES;
    if (!BODILESS.has(sent.status)) lines.push('content-length', String(sent.body.length));
    response.writeHead(sent.status, lines).end(sent.body);
  }
}

/** Sends the response for an answer that must not be forwarded. */
export function sendOutcome(response: ServerResponse, outcome: Unavailable): void {
  const { status, headers, body } = outcomeToHttp(outcome);
  response.writeHead(status, headers).end(body);
}
