/** The body of a client's request: in memory up to a limit, or as a stream if no plugin needs it. */
import type { IncomingMessage, ServerResponse } from 'node:http';
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
  { limit, needsWhole }: { readonly limit: number; readonly needsWhole: boolean },
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
  let first: Buffer | undefined;
  let rest: Buffer[] | undefined;
  let size = 0;
  let isRefused = false;
  request.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (isRefused) return;
    if (size > limit) {
      isRefused = true;
      rest = undefined;
      refuse(tooLarge(limit));
    } else if (first === undefined) first = chunk;
    else if (rest === undefined) rest = [first, chunk];
    else rest.push(chunk);
  });
  request.on('end', () => {
    if (isRefused) return;
    const whole = rest === undefined ? (first ?? NO_BODY) : Buffer.concat(rest, size);
    // The listeners live as long as the answer.
    first = undefined;
    rest = undefined;
    take(whole);
  });
}
