/** The events of one stream: calls of `transform_sse_event` on one instance, which keeps its state between events. */
import { InvalidArgumentError } from '../errors.ts';
import type { NativeModule, NativeStream } from '../native/addon.ts';
import type { SseEvent, TransformContext, TransformSseEventInput, TransformSseEventOutput } from '../types.ts';
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

/** The transform of a plugin that does not declare the hook or declares it in noop mode. */
export const unchangedEvents: EventTransform = {
  async transform() {
    return { kind: 'unchanged' };
  },
  close() {},
};

/**
 * Returns the input of a call with one event. The fields are named, because V8 adds a property to a spread object in its
 * runtime instead of in compiled code.
 */
export function eventInput(context: TransformContext, event: SseEvent): TransformSseEventInput {
  const { requestId, principal, upstream, requestMethod, requestPath, canonicalModelId, status, headers } = context;
  return { requestId, principal, upstream, requestMethod, requestPath, canonicalModelId, status, headers, event };
}

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

  /** @param call calls the hook with one event on the stream */
  constructor(module: NativeModule, context: TransformContext, call: CallEvent) {
    const principal = context.principal?.id;
    checkString(principal, 'context.principal.id');
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
