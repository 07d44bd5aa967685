import { Transform, type TransformCallback } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import * as z from 'zod';
import type { AsyncCallOptions } from './adapters/adapter.ts';
import { deadlineSchema, parseArgument } from './config.ts';
import { InvalidArgumentError, ResponseTransformError, type WasmtimeRuntimeError } from './errors.ts';
import { isPluginFailure, type PluginFailurePolicy } from './policy/failure.ts';
import { rereadable } from './policy/headers.ts';
import { isEventType, parseBlock, serialiseEvents } from './sse/event.ts';
import { type Block, SseSplitter, TOO_LARGE } from './sse/splitter.ts';
import type { TransformContext, TransformSseEventInput, TransformSseEventOutput } from './types.ts';

/** What the transformer needs of a shape plugin; `WasmtimeUpstreamDialect` has it. */
export interface SseDialect {
  /** Absent is `pass-through`. */
  readonly failurePolicy?: PluginFailurePolicy;
  transformSseEventAsync(input: TransformSseEventInput, options?: AsyncCallOptions): Promise<TransformSseEventOutput>;
  /** Called when a stream goes on without the plugin after it failed. */
  countPassThrough?(): void;
}

/** How a stream is transformed. */
export interface SseTransformerOptions extends Omit<AsyncCallOptions, 'signal'> {
  /** Bytes that one event may take in the stream; absent is 4 MiB. */
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
/** How long the events of one chunk may hold the event loop, beside the call that is under way. */
const TURN_MS = 5;
/** Says nothing of the plugin: that is the operator's business, and stands in `failure`. */
const ERROR_EVENT = Buffer.from(
  `event: error\ndata: ${JSON.stringify({
    type: 'error',
    error: { type: 'api_error', message: 'the response could not be transformed' },
  })}\n\n`,
);
const NOTHING = Buffer.alloc(0);

/**
 * Lets a plugin change the server-sent events of a response as they stream by. Events that it leaves alone pass byte for
 * byte, and so do comments and whatever else a client sees no event in.
 *
 * When the plugin fails, or an event is too large, `failure` says so. Under `pass-through`, a client that has got nothing
 * but the original until then gets the rest of it too; otherwise, and always under `fail-closed`, an `error` event ends the
 * stream, and never a raw byte follows. An InvalidArgumentError or a ClosedError destroys the stream.
 *
 * The bytes written must be decoded (no content-encoding): see `towardsClient` for the headers to send.
 */
export class SseTransformer extends Transform {
  readonly #dialect: SseDialect;
  readonly #context: TransformContext;
  readonly #options: AsyncCallOptions;
  readonly #maxEventBytes: number;
  readonly #splitter: SseSplitter;
  readonly #destroyed = new AbortController();
  #mode: 'transforming' | 'passing' | 'ended' = 'transforming';
  #isFirst = true;
  /** Whether the client has got anything but the original: a replaced event, or the lack of a dropped one. */
  #changed = false;
  /** Whether the last block went out as it came. */
  #lastPassed = true;
  #failure: WasmtimeRuntimeError | undefined;
  #resume: (() => void) | undefined;

  /** @throws InvalidArgumentError for arguments of the wrong kind */
  constructor(dialect: SseDialect, context: TransformContext, options: SseTransformerOptions = {}) {
    super();
    if (typeof dialect?.transformSseEventAsync !== 'function') {
      throw new InvalidArgumentError('dialect', 'expected an object with transformSseEventAsync');
    }
    if (typeof context !== 'object' || context === null) {
      throw new InvalidArgumentError('context', 'expected a transform context');
    }
    const { maxEventBytes, deadlineMs, where } = parseArgument(optionsSchema, options, 'options');
    this.#dialect = dialect;
    // Each field is read by name, because it may be a getter on the prototype of a class.
    const { requestId, principal, upstream, requestMethod, requestPath, canonicalModelId, status } = context;
    const headers = rereadable(context.headers);
    this.#context = { requestId, principal, upstream, requestMethod, requestPath, canonicalModelId, status, headers };
    this.#options = { deadlineMs, where, signal: this.#destroyed.signal };
    this.#maxEventBytes = maxEventBytes;
    this.#splitter = new SseSplitter(maxEventBytes);
  }

  /** Why the transformation stopped before the stream did. */
  get failure(): WasmtimeRuntimeError | undefined {
    return this.#failure;
  }

  override _transform(chunk: Uint8Array, _encoding: BufferEncoding, callback: TransformCallback): void {
    settle(this.#consume(chunk), callback);
  }

  override _flush(callback: TransformCallback): void {
    settle(this.#finish(), callback);
  }

  override _read(size: number): void {
    const resume = this.#resume;
    if (resume === undefined) {
      super._read(size);
      return;
    }
    this.#resume = undefined;
    resume();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#destroyed.abort();
    super._destroy(error, callback);
  }

  async #consume(chunk: Uint8Array): Promise<void> {
    if (this.#mode === 'transforming') {
      this.#splitter.feed(chunk);
      await this.#drain();
    } else if (this.#mode === 'passing') {
      await this.#send(chunk);
    }
  }

  async #drain(): Promise<void> {
    let began = performance.now();
    while (this.#mode === 'transforming' && !this.destroyed) {
      // One chunk may hold thousands of events, whose calls on this thread would leave it no time for anything else.
      if (performance.now() - began > TURN_MS) {
        await nextTurn();
        began = performance.now();
      }
      const block = this.#splitter.next();
      if (block === null) return;
      if (block === TOO_LARGE) {
        const problem = `an event takes more than maxEventBytes (${this.#maxEventBytes})`;
        await this.#stop(new ResponseTransformError('runtime', problem, { hook: 'transform_sse_event' }), NOTHING);
      } else {
        await this.#handle(block);
      }
    }
  }

  /** An event that the end of the stream cuts off is one too: some clients would take it. */
  async #finish(): Promise<void> {
    if (this.#mode !== 'transforming') return;
    const bytes = this.#splitter.rest();
    if (bytes.length > 0) await this.#handle({ bytes, belongsToPrevious: false });
  }

  async #handle({ bytes, belongsToPrevious }: Block): Promise<void> {
    if (belongsToPrevious) {
      if (this.#lastPassed) await this.#send(bytes);
      return;
    }
    const parsed = parseBlock(bytes, this.#isFirst);
    this.#isFirst = false;
    let out: Buffer = bytes;
    if (parsed !== null) {
      try {
        const { event, data, streamFields } = parsed;
        out = await this.#transformed({ event, data }, streamFields, bytes);
      } catch (error) {
        if (this.#destroyed.signal.aborted || !isPluginFailure(error)) throw error;
        await this.#stop(error, bytes);
        return;
      }
    }
    this.#lastPassed = out === bytes;
    if (!this.#lastPassed) this.#changed = true;
    await this.#send(out);
  }

  /** What goes out for an event: its own bytes, others, or none. */
  async #transformed(event: TransformSseEventInput['event'], streamFields: string, bytes: Buffer): Promise<Buffer> {
    const answer = await this.#dialect.transformSseEventAsync({ ...this.#context, event }, this.#options);
    if (answer.kind === 'unchanged') return bytes;
    if (answer.kind === 'drop') return NOTHING;
    if (!answer.events.every((replacement) => isEventType(replacement.event))) {
      const problem = "the answer has a line break in an event's type";
      throw new ResponseTransformError('runtime', problem, { hook: 'transform_sse_event' });
    }
    return serialiseEvents(answer.events, streamFields);
  }

  /** Stops transforming; `bytes` are those of the event at which it happened. */
  async #stop(failure: WasmtimeRuntimeError, bytes: Buffer): Promise<void> {
    this.#failure = failure;
    const rest = this.#splitter.rest();
    if (this.#changed || this.#dialect.failurePolicy === 'fail-closed') {
      this.#mode = 'ended';
      this.push(ERROR_EVENT);
      this.push(null);
    } else {
      this.#mode = 'passing';
      this.#dialect.countPassThrough?.();
      await this.#send(bytes);
      await this.#send(rest);
    }
  }

  /** Sends bytes on, and waits for the reader where it is slow: one chunk may hold many events. */
  async #send(bytes: Uint8Array): Promise<void> {
    if (bytes.length === 0 || this.push(bytes)) return;
    await new Promise<void>((resolve) => {
      this.#resume = resolve;
    });
  }
}

function settle(work: Promise<void>, callback: TransformCallback): void {
  work.then(
    () => process.nextTick(callback),
    (error: Error) => process.nextTick(callback, error),
  );
}
