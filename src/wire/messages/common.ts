/** The structs of several hooks. They are equal in every published wire crate. */
import { bytes, field, json, latin1, option, pairs, recurringText, struct, text } from '../rkyv.ts';

/** `[name, value, name, value, …]`: a value is a latin1 string or bytes; decoded ones are latin1 strings. */
export type FlatHeaders = readonly (string | Uint8Array)[];
/** `[key, json, key, json, …]`, in wire order. */
export type FlatClaims = readonly (string | Uint8Array)[];

/** The authenticated caller. */
export interface PrincipalValue {
  readonly id: string;
  readonly kind: string;
  readonly claims: FlatClaims;
}

/** An upstream. There is only one kind. */
export interface UpstreamValue {
  readonly baseUrl: string | null;
}

/** One server-sent event. */
export interface SseEventValue {
  readonly event: string;
  readonly data: Uint8Array;
}

export const headers = pairs(
  struct<{ name: string; value: string }>([field('name', recurringText), field('value', latin1)]),
);

export const principal = struct<PrincipalValue>(
  [
    field('id', text),
    field('kind', text),
    field('claims', pairs(struct<{ key: string; value: string }>([field('key', text), field('value', json)]))),
  ],
  { read: (value) => [value.id, value.kind, value.claims] },
);

export const upstream = {
  kind: 'enum',
  tag: null,
  variants: [{ name: 'anthropic_direct', fields: [field('baseUrl', option(text))] }],
} as const;

export const sseEvent = struct<SseEventValue>([field('event', recurringText), field('data', bytes)], {
  read: (value) => [value.event, value.data],
  make: ([event, data]) => ({ event, data }),
});
