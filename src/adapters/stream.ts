/** The events of one stream: calls of `transform_sse_event` on one instance, which keeps its state between events. */
import type { AsyncCallOptions } from '../call-options.ts';
import { InvalidArgumentError } from '../errors.ts';
import type { NativeModule, NativeStream } from '../native/addon.ts';
import type { EventTransform } from '../sse/event-transform.ts';
import type { SseEvent, TransformSseEventOutput } from '../types.ts';
import { checkString } from '../validate.ts';

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
