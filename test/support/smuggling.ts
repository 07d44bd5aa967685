/** Messages inside of messages, and the headers with which a plugin could expose them. */
import { type TransformResponseResult, transformResponseResult } from '../../src/wire/messages/transform.ts';
import { encodeToBytes } from './encode.ts';
import { answerAt, guest, misbehavesAfterProbe } from './guest.ts';

/** A body that is a request of its own for a server that ignores the framing of the request around it. */
export const SMUGGLED_REQUEST =
  'POST /internal HTTP/1.1\r\nhost: internal\r\nauthorization: Bearer x\r\ncontent-length: 0\r\n\r\n';
/** The end of a body that is a response of its own for a client that reads the wrong length. */
export const SMUGGLED_RESPONSE = 'HTTP/1.1 200 OK\r\nx-owned: 1\r\ncontent-length: 5\r\n\r\nowned';

/** Header lines (`name, value, …`) that define or change the framing, or the connection. */
export const SMUGGLING_HEADERS: readonly string[][] = [
  [],
  ['content-length', '0'],
  ['Content-Length', '2'],
  ['cOnTeNt-LeNgTh', '2', 'content-length', '3'],
  ['content-length', '999999'],
  ['content-length', '2, 2'],
  ['transfer-encoding', 'chunked'],
  ['Transfer-Encoding', 'identity'],
  ['transfer-encoding', 'gzip, chunked', 'content-length', '2'],
  ['TRANSFER-ENCODING', '\tchunked'],
  ['connection', 'close'],
  ['connection', 'keep-alive, content-length'],
  ['Connection', 'Transfer-Encoding, Upgrade', 'upgrade', 'h2c', 'http2-settings', 'AAMAAABk'],
  ['Upgrade', 'websocket', 'connection', 'upgrade', 'sec-websocket-key', 'x', 'sec-websocket-version', '13'],
  ['te', 'trailers, chunked'],
  ['trailer', 'content-length'],
  ['Trailer', 'x-a', 'transfer-encoding', 'chunked'],
  ['keep-alive', 'timeout=1, max=1'],
  ['proxy-connection', 'close'],
  ['Proxy-Connection', 'upgrade', 'proxy-authenticate', 'Basic', 'proxy-authorization', 'Basic eA=='],
  ['host', 'internal', 'Host', 'other'],
  ['Expect', '100-continue'],
  ['expect', 'y 100-continue'],
];

/** Where the answer is in the guest's memory: behind its input. */
const ANSWER_AT = 196_608;

/** Returns a shape whose transform of a response longer than a probe's returns `answer`; its shape passes through. */
export function transformingGuest(answer: TransformResponseResult): Uint8Array {
  const { fields, hook } = answerAt(ANSWER_AT, encodeToBytes(transformResponseResult, answer));
  return guest({
    hooks: ['shape', 'transform_response', 'transform_sse_event'],
    memory: '4',
    fields,
    hook: {
      shape: misbehavesAfterProbe('unreachable'),
      transform_response: misbehavesAfterProbe(hook),
    },
  });
}
