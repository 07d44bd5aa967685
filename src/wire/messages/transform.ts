/** The two transforms of an upstream's response: whole, and event by event. They came with wire 0.6. */
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

/** What both transforms are told of the exchange; the first fields of their requests. */
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
/** What `transform_response` is asked. */
export interface TransformResponseRequest extends ExchangeValue {
  readonly body: Uint8Array;
}
/** What `transform_sse_event` is asked. */
export interface TransformSseEventRequest extends ExchangeValue {
  readonly event: SseEventValue;
}

/** What becomes of a response; null keeps the original's. Headers are `[name, value, …]`, the body a view. */
export type TransformResponseResult =
  | { readonly kind: 'unchanged' }
  | {
      readonly kind: 'replace';
      readonly status: number | null;
      readonly headers: readonly string[] | null;
      readonly body: Uint8Array | null;
    };
/** What becomes of an event; the data of new ones are views. */
export type TransformSseEventResult =
  | { readonly kind: 'unchanged' }
  | { readonly kind: 'replace'; readonly events: readonly SseEventValue[] }
  | { readonly kind: 'drop' };

/** How many fields the exchange has. */
export const EXCHANGE_FIELDS = 8;

const exchange = [
  field('requestId', text),
  field('principal', principal),
  field('upstream', upstream),
  field('requestMethod', text),
  field('requestPath', text),
  field('canonicalModelId', text),
  field('responseStatus', u16),
  field('responseHeaders', headers),
];

export const transformResponseRequest: Message<TransformResponseRequest> = message(
  'TransformResponseRequest',
  struct<TransformResponseRequest>([...exchange, field('body', body)], {
    read: (r) => [
      r.requestId,
      r.principal,
      r.upstream,
      r.requestMethod,
      r.requestPath,
      r.canonicalModelId,
      r.responseStatus,
      r.responseHeaders,
      r.body,
    ],
  }),
);

export const transformSseEventRequest: Message<TransformSseEventRequest> = message(
  'TransformSseEventRequest',
  struct<TransformSseEventRequest>([...exchange, field('event', sseEvent)], {
    read: (r) => [
      r.requestId,
      r.principal,
      r.upstream,
      r.requestMethod,
      r.requestPath,
      r.canonicalModelId,
      r.responseStatus,
      r.responseHeaders,
      r.event,
    ],
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
