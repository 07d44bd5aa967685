/** An upstream's answer on its way to the client, through the transforms of the shape plugin where it declares them. */
import type { ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import {
  outcomeToHttp,
  ResponseTransformError,
  SseTransformer,
  type TransformContext,
  towardsClient,
  WasmtimeRuntimeError,
} from 'cc-lb-runtime-wasmtime';
import { readAll } from './body.ts';
import { type HeaderPairs, headerValue } from './headers.ts';
import type { Plugins } from './routes.ts';
import { isEventStream } from './usage.ts';

/** An upstream's answer whose body has not been read. */
export interface Answer {
  readonly status: number;
  readonly headers: HeaderPairs;
  readonly body: Readable;
}

/** Whom the answer goes to. */
export interface Client {
  readonly response: ServerResponse;
  /** Aborted when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
  readonly plugins: Plugins;
  /** Bytes of an answer that a plugin sees as a whole. */
  readonly maxBodyBytes: number;
  /** Told of a plugin's failure. */
  readonly pluginFailed: (message: string, error: Error) => void;
}

/** Statuses whose messages have no body, and so no content-length. */
const BODILESS = new Set([204, 304]);

/** Sends the answer on. `meter` sees each chunk of it as it came. Rejects where the client got less than all of it. */
export async function relay(
  answer: Answer,
  exchange: TransformContext,
  client: Client,
  meter: (body: Readable) => AsyncIterable<Buffer>,
): Promise<void> {
  const { plugins, response } = client;
  // It tells of an abort once more, after whoever reads it was told.
  answer.body.on('error', () => {});
  try {
    const isStream = isEventStream(headerValue(answer.headers, 'content-type'));
    const isTransformed =
      exchange.requestMethod !== 'HEAD' && (isStream ? plugins.transformsEvents : plugins.transformsResponses);
    if (!isTransformed) return await relayUnchanged(answer, client, meter);
    const encoding = headerValue(answer.headers, 'content-encoding') ?? 'identity';
    if (encoding.toLowerCase() !== 'identity') {
      const error = new ResponseTransformError('runtime', `the upstream's answer is encoded (${encoding})`);
      client.pluginFailed('an answer could not be transformed', error);
      if (plugins.dialect?.failurePolicy === 'fail-closed') return unavailable(response, error);
      return await relayUnchanged(answer, client, meter);
    }
    if (isStream) await relayEvents(answer, exchange, client, meter);
    else await relayTransformed(answer, exchange, client, meter);
  } finally {
    // An answer that was not read to its end would hold its connection.
    answer.body.destroy();
  }
}

async function relayUnchanged(
  { status, headers, body }: Answer,
  { response, signal }: Client,
  meter: (body: Readable) => AsyncIterable<Buffer>,
): Promise<void> {
  const lines = towardsClient(headers, { replacedBody: false });
  const length = headerValue(headers, 'content-length');
  if (length !== undefined) lines.push(['content-length', length]);
  response.writeHead(status, lines.flat());
  await pipeline(meter(body), response, { signal });
}

async function relayEvents(
  { status, headers, body }: Answer,
  exchange: TransformContext,
  { response, signal, plugins, pluginFailed }: Client,
  meter: (body: Readable) => AsyncIterable<Buffer>,
): Promise<void> {
  const transformer = new SseTransformer(plugins.dialect!, exchange);
  response.writeHead(status, towardsClient(headers, { replacedBody: true }).flat());
  await pipeline(meter(body), transformer, response, { signal });
  if (transformer.failure !== undefined) pluginFailed('an event transform failed', transformer.failure);
}

async function relayTransformed(
  answer: Answer,
  exchange: TransformContext,
  { response, signal, plugins, maxBodyBytes, pluginFailed }: Client,
  meter: (body: Readable) => AsyncIterable<Buffer>,
): Promise<void> {
  const tooLarge = new Error(`the upstream's answer is larger than ${maxBodyBytes} bytes`);
  const body = await readAll(meter(answer.body), maxBodyBytes, tooLarge);
  let transformed: { status: number; headers: HeaderPairs; body: Uint8Array } = { ...answer, body };
  try {
    const change = await plugins.dialect!.transformResponseAsync({ ...exchange, body }, { signal });
    if (change.kind === 'replace') {
      const { kind: _, ...parts } = change;
      transformed = { ...transformed, ...parts };
    }
    // A client would take it for an interim answer, and wait for another.
    if (transformed.status < 200) {
      throw new ResponseTransformError('runtime', `the answer's status ${transformed.status} is no final one`);
    }
  } catch (error) {
    if (!(error instanceof ResponseTransformError)) throw error;
    pluginFailed('a response transform failed', error);
    if (plugins.dialect?.failurePolicy === 'fail-closed') return unavailable(response, error);
    transformed = { ...answer, body };
  }
  const lines = towardsClient(transformed.headers, { replacedBody: transformed.body !== body });
  if (!BODILESS.has(transformed.status)) lines.push(['content-length', String(transformed.body.length)]);
  response.writeHead(transformed.status, lines.flat());
  response.end(transformed.body);
}

function unavailable(response: ServerResponse, error: ResponseTransformError): void {
  const isSaturated = error.cause instanceof WasmtimeRuntimeError && error.cause.code === 'CC_LB_POOL_SATURATED';
  const { status, headers, body } = outcomeToHttp({
    kind: 'unavailable',
    code: 'plugin_failed',
    status: 503,
    ...(isSaturated ? { retryAfterSeconds: 1 } : {}),
  });
  response.writeHead(status, headers).end(body);
}
