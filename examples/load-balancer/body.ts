/** Whole bodies in memory, up to a limit. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Refusal } from './refusal.ts';

/**
 * The body of a client's request. One that is announced as too large is refused before a byte is read, and before a
 * client that waits for `100 Continue` sends it.
 * @throws Refusal
 */
export async function readRequest(request: IncomingMessage, response: ServerResponse, limit: number): Promise<Buffer> {
  const tooLarge = new Refusal(413, 'request_too_large', `the body is larger than ${limit} bytes`);
  if (Number(request.headers['content-length'] ?? 0) > limit) throw tooLarge;
  if (request.headers.expect?.toLowerCase() === '100-continue') response.writeContinue();
  return readAll(request, limit, tooLarge);
}

/** Everything that a stream gives. @throws `tooLarge` beyond the limit, in bytes */
export async function readAll(stream: AsyncIterable<Buffer>, limit: number, tooLarge: Error): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream) {
    size += chunk.length;
    if (size > limit) throw tooLarge;
    chunks.push(chunk);
  }
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, size);
}
