/** Calls between the primary process and a worker: each message is a call or the answer to one. */

/** The channel of messages: a child process, from either side. */
export interface Port {
  /** The callback gets the error of a message that could not be sent. Without one, the error is an event. */
  send(message: unknown, sent: (error: Error | null) => void): unknown;
  on(event: 'message', listener: (message: unknown) => void): unknown;
  on(event: 'disconnect', listener: () => void): unknown;
}

/** The service of one side: asynchronous functions of one argument. */
export type Service = { readonly [Name in string]: (argument: never) => Promise<unknown> };

interface Call {
  readonly call: string;
  readonly id: number;
  readonly argument: unknown;
}

interface Reply {
  readonly reply: number;
  readonly value?: unknown;
  readonly error?: RemoteFailure;
}

/** A serialized error. */
interface RemoteFailure {
  readonly message: string;
  readonly plugin: string | undefined;
}

/** A call failed on the other side, or the other side ended. */
export class RemoteError extends Error {
  /** The rejected plugin, if any. */
  readonly plugin: string | undefined;
  /** Whether the other side ended, or did not answer in time. */
  readonly isLost: boolean;

  constructor({ message, plugin }: RemoteFailure, isLost = false) {
    super(message);
    this.name = 'RemoteError';
    this.plugin = plugin;
    this.isLost = isLost;
  }
}

/**
 * Sends a message to a process that may end at any time. A lost message needs no handling: the end of the process is an
 * event of its own.
 */
export function post(port: Pick<Port, 'send'>, message: unknown): void {
  port.send(message, () => {});
}

/** Serves `service` on a port. */
export function serve(port: Port, service: Service): void {
  port.on('message', (message) => {
    if (!isCall(message)) return;
    const { call, id, argument } = message;
    const offered = service[call] as ((argument: unknown) => Promise<unknown>) | undefined;
    const done = offered === undefined ? Promise.reject(new Error(`unknown call ${call}`)) : offered(argument);
    done.then(
      (value) => post(port, { reply: id, value } satisfies Reply),
      (error: unknown) => post(port, { reply: id, error: failureOf(error) } satisfies Reply),
    );
  });
}

/** Calls the service of the other side of a port. */
export class Remote<Offered extends Service> {
  readonly #port: Port;
  readonly #pending = new Map<number, { resolve(value: unknown): void; reject(error: RemoteError): void }>();
  #lastId = 0;
  #isLost = false;

  constructor(port: Port) {
    this.#port = port;
    port.on('message', (message) => {
      if (!isReply(message)) return;
      const pending = this.#pending.get(message.reply);
      this.#pending.delete(message.reply);
      if (message.error === undefined) pending?.resolve(message.value);
      else pending?.reject(new RemoteError(message.error));
    });
    port.on('disconnect', () => {
      this.#isLost = true;
      for (const { reject } of this.#pending.values()) reject(lost('the process has ended'));
      this.#pending.clear();
    });
  }

  /** Rejects with a RemoteError if the call throws, or if no answer arrives within `timeoutMs`. */
  call<Name extends keyof Offered & string>(
    name: Name,
    argument: Parameters<Offered[Name]>[0],
    timeoutMs: number,
  ): Promise<Awaited<ReturnType<Offered[Name]>>> {
    if (this.#isLost) return Promise.reject(lost('the process has ended'));
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(lost(`no answer to ${name} within ${timeoutMs} ms`));
      }, timeoutMs);
      const settled =
        <T>(settle: (value: T) => void) =>
        (value: T) => {
          clearTimeout(timer);
          settle(value);
        };
      const fail = settled(reject);
      this.#pending.set(id, { resolve: settled(resolve as (value: unknown) => void), reject: fail });
      // A process that was killed may not be known to be lost yet.
      this.#port.send({ call: name, id, argument } satisfies Call, (error) => {
        if (error !== null && this.#pending.delete(id)) fail(lost('the process has ended'));
      });
    });
  }
}

function lost(message: string): RemoteError {
  return new RemoteError({ message, plugin: undefined }, true);
}

function failureOf(error: unknown): RemoteFailure {
  const { message, plugin } = (error ?? {}) as { message?: unknown; plugin?: unknown };
  return {
    message: typeof message === 'string' ? message : String(error),
    plugin: typeof plugin === 'string' ? plugin : undefined,
  };
}

function isCall(message: unknown): message is Call {
  return typeof message === 'object' && message !== null && 'call' in message;
}

function isReply(message: unknown): message is Reply {
  return typeof message === 'object' && message !== null && 'reply' in message;
}
