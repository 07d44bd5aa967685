/**
 * The framing of messages to send: the content-length is that of the body, whatever a plugin, a client, or an upstream
 * states.
 */
import type { HeadersInput, ShapedRequest } from '../types.ts';
import { checkArray, checkBytes, checkObject, checkString } from '../validate.ts';
import { ONE_HOP, towardsClient } from './headers.ts';

/** Methods for which node:http writes a body without content-length and transfer-encoding. */
const UNFRAMED_METHODS = new Set(['GET', 'HEAD', 'DELETE', 'OPTIONS', 'TRACE', 'CONNECT']);
/**
 * Headers of one hop, and `expect`: the body is complete before the request is sent, and undici rejects it. An
 * expression needs no lower-case copy of a name.
 */
const IS_DROPPED = new RegExp(`^(?:${[...ONE_HOP, 'expect'].join('|')})$`, 'i');
/** Statuses of responses that end with their headers. */
const BODILESS_STATUSES = new Set([204, 304]);
const NO_BYTES = new Uint8Array();

/**
 * Returns a request in the form in which it can be sent: without hop-by-hop headers and expect, and with the
 * content-length of a body that node:http would otherwise write without framing, which an upstream reads as a second
 * request. Other bodies have no content-length, because HTTP clients set it and `fetch` rejects a second one.
 * `PluginChain` returns its requests in this form. A request that `WasmtimeUpstreamDialect.shape` returns needs it.
 * @throws InvalidArgumentError with the path of an invalid field
 *
 * @example
 * ```js
 * import { towardsUpstream } from 'cc-lb-runtime-wasmtime';
 *
 * const shaped = { url: new URL('https://up.test'), method: 'DELETE', headers: [], body: Buffer.from('{}') };
 * console.log(towardsUpstream(shaped).headers); // → [ [ 'content-length', '2' ] ]
 * ```
 */
export function towardsUpstream(request: ShapedRequest): ShapedRequest {
  checkObject(request, 'request');
  const { url, method, headers, body } = request;
  checkString(method, 'request.method');
  checkArray(headers, 'request.headers');
  checkBytes(body, 'request.body');
  const isUnframed = body.length > 0 && UNFRAMED_METHODS.has(method.toUpperCase());
  // Nearly every request: its headers were filtered when they were decoded or passed through.
  if (!isUnframed && !headers.some(isDropped)) return request;
  const sent = headers.filter((line) => !isDropped(line));
  if (isUnframed) sent.push(['content-length', `${body.length}`]);
  return { url, method, headers: sent, body };
}

function isDropped([name]: readonly [string, string]): boolean {
  return IS_DROPPED.test(name);
}

/**
 * Returns a complete response in the form in which it can be sent: without hop-by-hop headers, and with the
 * content-length of its body. A response that ends with its headers (to HEAD, 204, 304) has neither body nor
 * content-length.
 * @throws InvalidArgumentError with the path of an invalid header line
 */
export function framedResponse(
  requestMethod: string,
  response: { readonly status: number; readonly headers: HeadersInput; readonly body: Uint8Array },
): { readonly headers: [string, string][]; readonly body: Uint8Array } {
  const headers = towardsClient(response.headers, { replacedBody: false });
  if (requestMethod.toUpperCase() === 'HEAD' || BODILESS_STATUSES.has(response.status)) {
    return { headers, body: NO_BYTES };
  }
  headers.push(['content-length', `${response.body.length}`]);
  return { headers, body: response.body };
}
