import { Transform, type TransformCallback } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import * as z from 'zod';
import type { AsyncCallOptions } from '../call-options.ts';
import { deadlineSchema } from '../config.ts';
import { InvalidArgumentError, ResponseTransformError, type WasmtimeRuntimeError } from '../errors.ts';
import { isEventType } from '../policy/chain-rules.ts';
import { isPluginFailure, type PluginFailurePolicy } from '../policy/failure.ts';
import { rereadable } from '../policy/headers.ts';
import type { SseEvent, TransformContext, TransformSseEventInput, TransformSseEventOutput } from '../types.ts';
import { checkObject, parseArgument } from '../validate.ts';
import { isLongEventType, MAX_TYPE_UNITS, parseBlock, serializeEvents } from './event.ts';
import { type EventTransform, unchangedEvents } from './event-transform.ts';
import { MAX_LINES } from './line-ends.ts';
import { type Block, SseSplitter, TOO_LARGE, TOO_MANY_LINES } from './splitter.ts';

/** The part of a shape plugin that the transformer uses; `WasmtimeUpstreamDialect` implements it. */
export interface SseDialect {
  /** What happens to a stream when the plugin fails; the default is `pass-through`. */
  readonly failurePolicy?: PluginFailurePolicy;
  /** Transforms one event; see `WasmtimeUpstreamDialect.transformSseEventAsync`. */
  transformSseEventAsync(input: TransformSseEventInput, options?: AsyncCallOptions): Promise<TransformSseEventOutput>;
  /**
   * Opens the transform of one stream's events. Without this method, `transformSseEventAsync` is called for each event.
   */
  openSseStream?(context: TransformContext): EventTransform;
  /** Called when a stream is passed through after the plugin failed. */
  countPassThrough?(): void;
}

/** Options of SseTransformer. */
export interface SseTransformerOptions extends Pick<AsyncCallOptions, 'deadlineMs' | 'where'> {
  /** The maximum size of an event in bytes; the default is 4 MiB. */
  readonly maxEventBytes?: number | undefined;
}

const optionsSchema = z.strictObject({
  maxEventBytes: z
    .int()
    .min(1)
    .default(4 * 1024 * 1024),
  deadlineMs: deadlineSchema.optional(),
  where: z.enum(['auto', 'inline', 'thread']).optional(),
});
/** Milliseconds after which the events of one chunk yield to the event loop. */
const TURN_MS = 5;
/** Contains nothing about the plugin: `failure` reports the cause to the operator. */
const ERROR_EVENT = Buffer.from(
  `event: error\ndata: ${JSON.stringify({
    type: 'error',
    error: { type: 'api_error', message: 'the response could not be transformed' },
  })}\n\n`,
);
const NOTHING = Buffer.alloc(0);

/**
 * Transforms the server-sent events of a response with a plugin. Events that the plugin leaves unchanged are copied
 * byte for byte, and so are comments and blocks without an event.
 *
 * `failure` is set when the plugin fails, an event is too large, has more than 100,000 lines or a type of more than 1,024
 * characters, or the context's headers have a content-encoding.
 * Under `pass-through`, if the output equals the input so far, the rest is copied unchanged. Otherwise, and always under
 * `fail-closed`, an `error` event ends the output, and no further byte is copied. An InvalidArgumentError or a
 * ClosedError destroys the stream.
 *
 * See `towardsClient` for the headers to send. If `failure` is already set before the first byte, the headers of the
 * original still apply under `pass-through`; `PluginChain.transformEvents` handles this case.
 *
 * @example
 * ```js
 * import { SseTransformer } from 'cc-lb-runtime-wasmtime';
 *
 * // A WasmtimeUpstreamDialect in a load balancer.
 * const dialect = {
 *   async transformSseEventAsync({ event }) {
 *     return event.event === 'ping' ? { kind: 'drop' } : { kind: 'unchanged' };
 *   },
 * };
 * const context = {
 *   requestId: 'req-1',
 *   principal: { id: 'team-a', kind: 'api_key', claims: {} },
 *   upstream: { kind: 'anthropic_direct' },
 *   requestMethod: 'POST',
 *   requestPath: '/v1/messages',
 *   canonicalModelId: 'claude-3-haiku-20240307',
 *   status: 200,
 *   headers: [['content-type', 'text/event-stream']],
 * };
 * const transformer = new SseTransformer(dialect, context);
 * transformer.end('event: ping\ndata: {}\n\nevent: message_stop\ndata: {}\n\n');
 * console.log(Buffer.concat(await transformer.toArray()).toString().split('\n')[0]); // → event: message_stop
 * ```
 */
export class SseTransformer extends Transform {
  readonly #dialect: SseDialect;
  /** Read before the first call: afterwards, a followed slot may be absent or have another version. */
  readonly #failsClosed: boolean;
  readonly #context: TransformContext;
  readonly #options: AsyncCallOptions;
  readonly #maxEventBytes: number;
  readonly #splitter: SseSplitter;
  readonly #destroyed = new AbortController();
  #mode: 'transforming' | 'passing' | 'ended' = 'transforming';
  #isFirst = true;
  /** Whether the output differs from the input: an event was replaced or dropped. */
  #changed = false;
  /** Whether the last block was copied unchanged. */
  #lastPassed = true;
  #events: EventTransform | undefined;
  #failure: WasmtimeRuntimeError | undefined;
  /** The output since the last push. */
  #output: Uint8Array[] = [];
  #outputBytes = 0;
  /** Whether the reader's buffer is full. */
  #isFull = false;
  /** Continues at the next read. */
  #resume: (() => void) | undefined;

  /** @throws InvalidArgumentError for invalid arguments; ClosedError */
  constructor(dialect: SseDialect, context: TransformContext, options: SseTransformerOptions = {}) {
    super();
    if (typeof dialect?.transformSseEventAsync !== 'function') {
      throw new InvalidArgumentError('dialect', 'expected an object with transformSseEventAsync');
    }
    checkObject(context, 'context');
    const { maxEventBytes, deadlineMs, where } = parseArgument(optionsSchema, options, 'options');
    this.#dialect = dialect;
    this.#failsClosed = dialect.failurePolicy === 'fail-closed';
    // Each field is read by name, because it may be a getter on the prototype of a class.
    const { requestId, principal, upstream, requestMethod, requestPath, canonicalModelId, status } = context;
    const headers = rereadable(context.headers);
    this.#context = { requestId, principal, upstream, requestMethod, requestPath, canonicalModelId, status, headers };
    this.#options = { deadlineMs, where, signal: this.#destroyed.signal };
    this.#maxEventBytes = maxEventBytes;
    this.#splitter = new SseSplitter(maxEventBytes);
    try {
      this.#events = this.#open();
      if (this.#events === unchangedEvents) this.#mode = 'passing';
    } catch (error) {
      if (!isPluginFailure(error)) throw error;
      this.#fail(error);
    }
  }

  /** The failure that ended the transformation before the stream ended. */
  get failure(): WasmtimeRuntimeError | undefined {
    return this.#failure;
  }

  /** @internal Whether the input is copied: the plugin does not transform events, or it has failed. */
  get isPassing(): boolean {
    return this.#mode === 'passing';
  }

  /** @internal */
  override _transform(chunk: Uint8Array, _encoding: BufferEncoding, callback: TransformCallback): void {
    settle(this.#consume(chunk), callback);
  }

  /** @internal Chunks that were written while an earlier one was transformed. */
  override _writev(chunks: readonly { readonly chunk: Uint8Array }[], callback: TransformCallback): void {
    settle(this.#consumeAll(chunks), callback);
  }

  /** @internal */
  override _flush(callback: TransformCallback): void {
    settle(this.#finish(), callback);
  }

  /** @internal */
  override _read(size: number): void {
    this.#isFull = false;
    const resume = this.#resume;
    if (resume === undefined) {
      super._read(size);
      return;
    }
    this.#resume = undefined;
    resume();
  }

  /** @internal */
  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    // After the last event no call runs that the abort could end.
    if (!this.writableFinished) this.#destroyed.abort();
    this.#events?.close();
    super._destroy(error, callback);
  }

  async #consumeAll(chunks: readonly { readonly chunk: Uint8Array }[]): Promise<void> {
    for (const { chunk } of chunks) await this.#consume(chunk);
  }

  async #consume(chunk: Uint8Array): Promise<void> {
    if (this.#mode === 'transforming') {
      this.#splitter.feed(chunk);
      await this.#drain();
    } else if (this.#mode === 'passing') {
      this.#send(chunk);
    }
    // The reader reads nothing after the end of the output.
    if (this.#isFull && this.#mode !== 'ended') await this.#nextRead();
  }

  async #drain(): Promise<void> {
    let began = performance.now();
    while (this.#mode === 'transforming' && !this.destroyed) {
      if (this.#isFull) await this.#nextRead();
      // One chunk may contain thousands of events, whose inline calls would block the event loop.
      if (performance.now() - began > TURN_MS) {
        await nextTurn();
        began = performance.now();
      }
      const block = this.#splitter.next();
      if (block === null) return;
      if (block === TOO_LARGE) {
        this.#stop(failureOf(`an event takes more than maxEventBytes (${this.#maxEventBytes})`), NOTHING);
      } else if (block === TOO_MANY_LINES) {
        this.#stop(failureOf(`an event has more than ${MAX_LINES} lines`), NOTHING);
      } else {
        await this.#handle(block);
      }
    }
  }

  /** Handles an event that the end of the stream cuts off, because some clients accept it. */
  async #finish(): Promise<void> {
    if (this.#mode === 'transforming') {
      const bytes = this.#splitter.rest();
      if (bytes.length > 0) await this.#handle({ bytes, belongsToPrevious: false });
    }
    this.#push();
    this.#events?.close();
  }

  async #handle({ bytes, belongsToPrevious }: Block): Promise<void> {
    if (belongsToPrevious) {
      if (this.#lastPassed) this.#send(bytes);
      return;
    }
    const parsed = parseBlock(bytes, this.#isFirst);
    this.#isFirst = false;
    let out: Buffer = bytes;
    if (parsed !== null && isLongEventType(parsed.event)) {
      this.#stop(failureOf(`an event type has more than ${MAX_TYPE_UNITS} characters`), bytes);
      return;
    }
    if (parsed !== null) {
      try {
        const { event, data, streamFields } = parsed;
        out = outputOf(await this.#events!.transform({ event, data }, this.#options), streamFields, bytes);
      } catch (error) {
        if (this.#destroyed.signal.aborted || !isPluginFailure(error)) throw error;
        this.#stop(error, bytes);
        return;
      }
    }
    this.#lastPassed = out === bytes;
    if (!this.#lastPassed) this.#changed = true;
    this.#send(out);
  }

  #open(): EventTransform {
    if (this.#dialect.openSseStream !== undefined) return this.#dialect.openSseStream(this.#context);
    return {
      transform: (event, options) => this.#dialect.transformSseEventAsync(eventInput(this.#context, event), options),
      close() {},
    };
  }

  /** Stops transforming; `bytes` are those of the failed event. */
  #stop(failure: WasmtimeRuntimeError, bytes: Buffer): void {
    const rest = this.#splitter.rest();
    this.#fail(failure);
    if (this.#mode !== 'passing') return;
    this.#send(bytes);
    this.#send(rest);
  }

  /** Applies the failure policy to the rest of the stream. */
  #fail(failure: WasmtimeRuntimeError): void {
    this.#failure = failure;
    this.#events?.close();
    if (this.#changed || this.#failsClosed) {
      this.#mode = 'ended';
      this.#send(ERROR_EVENT);
      this.#push();
      this.push(null);
    } else {
      this.#mode = 'passing';
      this.#dialect.countPassThrough?.();
    }
  }

  /**
   * Adds bytes to the output. Events that arrived together are pushed as one chunk, because each chunk costs a system
   * call when it is sent. No event waits for a plugin that runs on another thread: a tick runs before every wait.
   */
  #send(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#outputBytes += bytes.length;
    if (this.#output.push(bytes) === 1) process.nextTick(() => this.#pushOrDestroy());
    if (this.#outputBytes >= this.readableHighWaterMark) this.#push();
  }

  #push(): void {
    const output = this.#output;
    if (output.length === 0 || this.destroyed) return;
    this.#output = [];
    this.#outputBytes = 0;
    this.#isFull = !this.push(output.length === 1 ? output[0] : Buffer.concat(output));
  }

  /** Destroys the stream with what a listener throws, as if it were thrown during a write. */
  #pushOrDestroy(): void {
    try {
      this.#push();
    } catch (error) {
      this.destroy(error as Error);
    }
  }

  /** Resolves when the reader reads again. One chunk may contain more events than its buffer holds. */
  #nextRead(): Promise<void> {
    return new Promise((resolve) => {
      this.#resume = resolve;
    });
  }
}

/** Returns the output for an event: its own bytes, replacement bytes, or none. */
function outputOf(answer: TransformSseEventOutput, streamFields: string, bytes: Buffer): Buffer {
  if (answer.kind === 'unchanged') return bytes;
  if (answer.kind === 'drop') return NOTHING;
  if (!answer.events.every((replacement) => isEventType(replacement.event))) {
    throw failureOf("the answer has a line break in an event's type");
  }
  const serialized = serializeEvents(answer.events, streamFields);
  if (serialized === null) throw failureOf(`the events of the answer have more than ${MAX_LINES} lines`);
  return serialized;
}

function failureOf(problem: string): ResponseTransformError {
  return new ResponseTransformError('runtime', problem, { hook: 'transform_sse_event' });
}

/** The fields are named, because V8 adds a property to a spread object in its runtime instead of in compiled code. */
function eventInput(context: TransformContext, event: SseEvent): TransformSseEventInput {
  const { requestId, principal, upstream, requestMethod, requestPath, canonicalModelId, status, headers } = context;
  return { requestId, principal, upstream, requestMethod, requestPath, canonicalModelId, status, headers, event };
}

function settle(work: Promise<void>, callback: TransformCallback): void {
  work.then(
    () => process.nextTick(callback),
    (error: Error) => process.nextTick(callback, error),
  );
}
