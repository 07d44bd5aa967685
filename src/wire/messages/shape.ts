/** Messages of the shape hook. They are equal in every published wire crate. */
import { body, bytes, field, type Message, message, option, recurringText, struct, text } from '../rkyv.ts';
import { type FlatHeaders, headers, type PrincipalValue, principal, type UpstreamValue, upstream } from './common.ts';

/** The request of a shape. */
export interface ShapeRequest {
  readonly requestId: string;
  readonly method: string;
  readonly path: string;
  readonly query?: string | null | undefined;
  readonly headers: FlatHeaders;
  readonly body: Uint8Array;
  readonly principal: PrincipalValue;
  readonly upstream: UpstreamValue;
}

/** The request that a shape plugin wrote for its upstream. */
export interface ShapeResponse {
  readonly url: string;
  readonly method: string;
  /** `[name, value, …]`, values as latin1 strings. */
  readonly headers: readonly string[];
  /** A view of the decoded bytes. */
  readonly body: Uint8Array;
}

export const shapeRequest: Message<ShapeRequest> = message(
  'ShapeRequest',
  struct<ShapeRequest>(
    [
      field('requestId', text),
      field('method', text),
      field('path', text),
      field('query', option(text)),
      field('headers', headers),
      field('body', body),
      field('principal', principal),
      field('upstream', upstream),
    ],
    { read: (r) => [r.requestId, r.method, r.path, r.query, r.headers, r.body, r.principal, r.upstream] },
  ),
);

export const shapeResponse: Message<ShapeResponse> = message(
  'ShapeResponse',
  struct<ShapeResponse>(
    [field('url', text), field('method', recurringText), field('headers', headers), field('body', bytes)],
    {
      make: ([url, method, headers, body]) => ({ url, method, headers, body }),
    },
  ),
);
