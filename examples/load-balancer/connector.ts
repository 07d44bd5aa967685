/**
 * Connections to upstreams. undici 7 asserts that no response is paused when its connection ends: an upstream that closes
 * the connection after its response would end the process if the client, or a transform, is slow. As undici 8 does, which
 * requires Node 22, the rest of the response is read without pauses then.
 */
import type { Socket } from 'node:net';
import { buildConnector } from 'undici';

/** The part of undici's parser of a connection that is used. */
interface Parser {
  readonly ptr: unknown;
  readonly llhttp: { llhttp_resume(ptr: unknown): void };
  paused: boolean;
  execute(chunk: Buffer): void;
  /** Called when the connection ends. */
  finish(): Error | null;
}

const NO_BYTES = Buffer.alloc(0);

/** Returns a connector for undici. `timeoutMs` limits the time to connect. */
export function connector(timeoutMs: number): buildConnector.connector {
  const connect = buildConnector({ timeout: timeoutMs });
  return (options, callback) =>
    connect(options, (...result) => {
      callback(...result);
      const [error, socket] = result;
      // undici creates the parser in a microtask, and a response cannot arrive before.
      if (error === null) setImmediate(() => finishUnpaused(socket));
    });
}

function finishUnpaused(socket: Socket): void {
  const key = Object.getOwnPropertySymbols(socket).find(({ description }) => description === 'parser');
  const parser = key && (socket as unknown as Record<symbol, Parser | null>)[key];
  // The connection may be closed already.
  if (parser == null) return;
  const finish = parser.finish.bind(parser);
  parser.finish = () => {
    while (parser.paused) {
      unpause(parser);
      const rest: Buffer = socket.read() ?? NO_BYTES;
      // Also without bytes: the parser may have paused before it reported the end of the response.
      parser.execute(rest);
      if (rest.length === 0) break;
    }
    if (parser.paused) unpause(parser);
    return finish();
  };
}

function unpause(parser: Parser): void {
  parser.llhttp.llhttp_resume(parser.ptr);
  parser.paused = false;
}
