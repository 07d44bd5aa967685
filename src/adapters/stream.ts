/** The events of one stream: calls of `transform_sse_event` on one instance, which keeps its state between events. */
import { InvalidArgumentError } from '../errors.ts';
import type { NativeModule, NativeStream } from '../native/addon.ts';
import type { SseEvent, TransformSseEventOutput } from '../types.ts';
import { checkString } from '../validate.ts';
import type { AsyncCallOptions } from './adapter.ts';

/** The transform of one stream's events. Call `close` when the stream ends. */
export interface EventTransform {
  /**
   * Transforms one event. Wait for its promise before the next event. Rejects with ResponseTransformError for any
   * failure of the plugin, which ends the transform; with InvalidArgument, Closed, and `signal.reason` when aborted.
   */
  transform(event: SseEvent, options?: AsyncCallOptions): Promise<TransformSseEventOutput>;
  /** Releases the stream's instance. */
  close(): void;
}

/** The transform of a plugin that does not declare the hook or declares it in noop mode. Its events need no parsing. */
export const unchangedEvents: EventTransform = {
  async transform() {
    return { kind: 'unchanged' };
  },
  close() {},
};

/** A native stream, and its number for calls on this thread. */
export interface OpenStream {
  readonly handle: NativeStream;
  readonly target: number;
}

type CallEvent = (
  event: SseEvent,
  options: AsyncCallOptions | undefined,
  stream: OpenStream,
) => Promise<TransformSseEventOutput>;

/** Events that share an instance of the version that was current when the stream was opened. */
export class StreamTransform implements EventTransform {
  readonly #stream: OpenStream;
  readonly #call: CallEvent;
  #running = false;

  /** Throws InvalidArgument unless `principal` is a string. `call` calls the hook with one event on the stream. */
  constructor(module: NativeModule, principal: unknown, call: CallEvent) {
    checkString(principal, 'principal.id');
    const handle = module.openStream(principal);
    this.#stream = { handle, target: handle.target() };
    this.#call = call;
  }

  async transform(event: SseEvent, options?: AsyncCallOptions): Promise<TransformSseEventOutput> {
    if (this.#running) throw new InvalidArgumentError('event', 'expected the previous event to be finished');
    this.#running = true;
    try {
      return await this.#call(event, options, this.#stream);
    } finally {
      this.#running = false;
    }
  }

  close(): void {
    this.#stream.handle.close();
  }
}
