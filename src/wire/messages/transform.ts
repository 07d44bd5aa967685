/** Messages of the two transforms, of a complete response and of an event. Wire 0.6 added them. */
import { body, bytes, field, type Message, message, option, slice, struct, text, u16 } from '../rkyv.ts';
import {
  type FlatHeaders,
  headers,
  type PrincipalValue,
  principal,
  type SseEventValue,
  sseEvent,
  type UpstreamValue,
  upstream,
} from './common.ts';

/** The exchange, with which the requests of both transforms begin. */
export interface ExchangeValue {
  readonly requestId: string;
  readonly principal: PrincipalValue;
  readonly upstream: UpstreamValue;
  readonly requestMethod: string;
  readonly requestPath: string;
  readonly canonicalModelId: string;
  readonly responseStatus: number;
  readonly responseHeaders: FlatHeaders;
}
/** The request of `transform_response`. */
export interface TransformResponseRequest {
  readonly exchange: ExchangeValue;
  readonly body: Uint8Array;
}
/** The request of `transform_sse_event`. */
export interface TransformSseEventRequest {
  readonly exchange: ExchangeValue;
  readonly event: SseEventValue;
}

/** The transformed response; null keeps a part of the original. Headers are `[name, value, …]`, the body a view. */
export type TransformResponseResult =
  | { readonly kind: 'unchanged' }
  | {
      readonly kind: 'replace';
      readonly status: number | null;
      readonly headers: readonly string[] | null;
      readonly body: Uint8Array | null;
    };
/** The result for an event; the data of new events are views. */
export type TransformSseEventResult =
  | { readonly kind: 'unchanged' }
  | { readonly kind: 'replace'; readonly events: readonly SseEventValue[] }
  | { readonly kind: 'drop' };

/**
 * The wire crates declare these fields in both requests. A struct of them has the same layout, because it ends without
 * padding.
 */
const exchange = struct<ExchangeValue>(
  [
    field('requestId', text),
    field('principal', principal),
    field('upstream', upstream),
    field('requestMethod', text),
    field('requestPath', text),
    field('canonicalModelId', text),
    field('responseStatus', u16),
    field('responseHeaders', headers),
  ],
  {
    read: (value) => [
      value.requestId,
      value.principal,
      value.upstream,
      value.requestMethod,
      value.requestPath,
      value.canonicalModelId,
      value.responseStatus,
      value.responseHeaders,
    ],
    isFlattened: true,
  },
);

export const transformResponseRequest: Message<TransformResponseRequest> = message(
  'TransformResponseRequest',
  struct<TransformResponseRequest>([field('exchange', exchange), field('body', body)], {
    read: (request) => [request.exchange, request.body],
  }),
);

export const transformSseEventRequest: Message<TransformSseEventRequest> = message(
  'TransformSseEventRequest',
  struct<TransformSseEventRequest>([field('exchange', exchange), field('event', sseEvent)], {
    read: (request) => [request.exchange, request.event],
  }),
);

export const transformResponseResult: Message<TransformResponseResult> = message('TransformResponseResult', {
  kind: 'enum',
  tag: 'kind',
  variants: [
    { name: 'unchanged', fields: [] },
    {
      name: 'replace',
      fields: [field('status', option(u16)), field('headers', option(headers)), field('body', option(bytes))],
    },
  ],
});

export const transformSseEventResult: Message<TransformSseEventResult> = message('TransformSseEventResult', {
  kind: 'enum',
  tag: 'kind',
  variants: [
    { name: 'unchanged', fields: [] },
    { name: 'replace', fields: [field('events', slice(sseEvent))] },
    { name: 'drop', fields: [] },
  ],
});
