/** What transforms the events of one stream: a plugin, or nothing. */
import type { AsyncCallOptions } from '../call-options.ts';
import type { SseEvent, TransformSseEventOutput } from '../types.ts';

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
