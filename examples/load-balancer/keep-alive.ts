/** Sends comments in idle event streams, so that proxies and clients do not time out. */
import type { IncomingHttpHeaders, ServerResponse } from 'node:http';

const COMMENT = ': keep-alive\n\n';
const NEWLINE = 0x0a;
const RETURN = 0x0d;

/** Whether comments may be sent in an event stream: its length is not given and its bytes are not encoded. */
export function takesComments(headers: IncomingHttpHeaders): boolean {
  const { 'content-length': length, 'content-encoding': encoding = 'identity' } = headers;
  return length === undefined && encoding === 'identity';
}

/** An event stream to a client. */
export class EventStream {
  readonly response: ServerResponse;
  #hasBegun = false;
  /** Whether something was sent since the last check. */
  isActive = true;
  /** Whether a comment may be sent: inside an event it would be a part of the event. */
  endsEvent = true;

  constructor(response: ServerResponse) {
    this.response = response;
  }

  /** Sends the head of the response, with the first events if they arrive in this iteration of the event loop. */
  begin(): void {
    setImmediate(() => {
      if (!this.#hasBegun && !this.response.writableEnded) this.response.flushHeaders();
    });
  }

  /** To be called with each chunk that is sent. */
  sent(chunk: Uint8Array): void {
    this.#hasBegun = true;
    this.isActive = true;
    const { length } = chunk;
    const last = chunk[length - 1];
    const before = chunk[length - 2];
    this.endsEvent =
      (last === NEWLINE && (before === NEWLINE || (before === RETURN && chunk[length - 3] === NEWLINE))) ||
      (last === RETURN && before === RETURN);
  }
}

/** Sends a comment in each stream that is idle for `intervalMs`, at the latest after twice that time. */
export class KeepAlive {
  readonly #streams = new Set<EventStream>();
  readonly #timer: NodeJS.Timeout;

  constructor(intervalMs: number) {
    this.#timer = setInterval(() => this.#sweep(), intervalMs);
    this.#timer.unref();
  }

  /** Watches the stream of a response until it closes. */
  watch(response: ServerResponse): EventStream {
    const stream = new EventStream(response);
    this.#streams.add(stream);
    response.once('close', () => this.#streams.delete(stream));
    return stream;
  }

  /** Sends no more comments. */
  stop(): void {
    clearInterval(this.#timer);
  }

  #sweep(): void {
    for (const stream of this.#streams) {
      const { response } = stream;
      if (!stream.isActive && stream.endsEvent && !response.writableNeedDrain && !response.writableEnded) {
        response.write(COMMENT);
      }
      stream.isActive = false;
    }
  }
}
