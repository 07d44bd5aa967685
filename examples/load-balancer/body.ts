/** The body of a client's request: in memory up to a limit, or as a stream if no plugin needs it. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Chunks } from './chunks.ts';
import type { Holding } from './fair-shares.ts';
import { Refusal } from './refusal.ts';

/** Size in bytes from which a body that no plugin reads is streamed. */
const STREAMED_FROM = 64 * 1024;
const NO_BODY = Buffer.alloc(0);

/** A complete body, or the request that streams it. */
export type Body = Buffer | IncomingMessage;

/**
 * Yields the chunks of a streamed body. If the receiver stops early, because the upstream has answered or failed, the
 * rest is discarded: a client that reads only after its upload would otherwise never read the answer.
 */
export async function* chunksOf(request: IncomingMessage): AsyncGenerator<Buffer> {
  try {
    yield* request.iterator({ destroyOnReturn: false });
  } finally {
    request.resume();
  }
}

/** The refusal of a request whose body or answer the limit of buffered bytes does not allow. */
export const TOO_MANY_BYTES = new Refusal(503, 'overloaded_error', 'too many bytes are buffered', 1);

/** How a body is read. */
export interface BodyRules {
  /** Maximum bytes of the body. */
  readonly limit: number;
  /** Whether the body must not be streamed. */
  readonly needsWhole: boolean;
  /** The bytes that the request has in memory. */
  readonly memory: Holding;
}

/** Creates the refusal of a body that exceeds the limit. */
function tooLarge(limit: number): Refusal {
  return new Refusal(413, 'request_too_large', `the body is larger than ${limit} bytes`);
}

/**
 * Calls `take` with the body, or `refuse` with its problem. A body with a too large content-length is refused before it
 * is read, and before a client that waits for `100 Continue` sends it. Neither is called if the client disconnects.
 */
export function readBody(
  request: IncomingMessage,
  response: ServerResponse,
  { limit, needsWhole, memory }: BodyRules,
  take: (body: Body) => void,
  refuse: (refusal: Refusal) => void,
): void {
  const { headers } = request;
  const announced = headers['content-length'];
  if (announced === undefined && headers['transfer-encoding'] === undefined) {
    take(NO_BODY);
    return;
  }
  const length = Number(announced);
  if (length > limit) {
    refuse(tooLarge(limit));
    return;
  }
  if (headers.expect !== undefined && headers.expect.toLowerCase() === '100-continue') response.writeContinue();
  if (!needsWhole && length >= STREAMED_FROM) {
    take(request);
    return;
  }
  const chunks = new Chunks();
  let isRefused = false;
  request.on('data', (chunk: Buffer) => {
    if (isRefused) return;
    const isTooLarge = chunks.size + chunk.length > limit;
    if (!isTooLarge && memory.take(chunk.length)) {
      chunks.add(chunk);
      return;
    }
    isRefused = true;
    chunks.clear();
    refuse(isTooLarge ? tooLarge(limit) : TOO_MANY_BYTES);
  });
  request.on('end', () => {
    if (!isRefused) take(chunks.take());
  });
}
