/**
 * The wire schemas of each hook. Every published PDK embeds a BLAKE3 fingerprint of each hook's top-level fields, and
 * among published PDKs a fingerprint selects one schema. The wire version is always 1.
 */
import type { HookKind, SlotKind } from '../types.ts';
import {
  type FilterRequest,
  type FilterResponse,
  filterRequestBase,
  filterRequestPriced,
  filterRequestTiered,
  filterResponse,
} from './messages/filter.ts';
import { type ObserveEventValue, observeEvent } from './messages/observe.ts';
import { type ShapeRequest, type ShapeResponse, shapeRequest, shapeResponse } from './messages/shape.ts';
import {
  type TransformResponseRequest,
  type TransformResponseResult,
  type TransformSseEventRequest,
  type TransformSseEventResult,
  transformResponseRequest,
  transformResponseResult,
  transformSseEventRequest,
  transformSseEventResult,
} from './messages/transform.ts';
import type { Message } from './rkyv.ts';

/** A wire schema of a hook. */
export interface Schema<Hook extends HookKind, Request, Response> {
  readonly hook: Hook;
  /** 64 lower-case hex digits. */
  readonly fingerprint: string;
  /** The PDK releases whose plugins carry the fingerprint. */
  readonly pdkReleases: readonly string[];
  /**
   * The spelling of the principal kind of an OAuth caller, which differs in wire 0.2.0. For shape and observe this is
   * the later spelling; their fingerprints do not determine the PDK.
   */
  readonly oauthPrincipalKind: 'o_auth_subject' | 'oauth_subject';
  readonly request: Message<Request>;
  /** Null for observe, which has no answer. */
  readonly response: [Response] extends [null] ? null : Message<Response>;
}

/** The schema type of each hook. */
export interface SchemaByHook {
  filter: Schema<'filter', FilterRequest, FilterResponse>;
  shape: Schema<'shape', ShapeRequest, ShapeResponse>;
  observe: Schema<'observe', ObserveEventValue, null>;
  transform_response: Schema<'transform_response', TransformResponseRequest, TransformResponseResult>;
  transform_sse_event: Schema<'transform_sse_event', TransformSseEventRequest, TransformSseEventResult>;
}

/** The schema of each hook that a plugin declares; null for a transform in noop mode. */
export type DeclaredSchemas = { readonly [Hook in HookKind]?: SchemaByHook[Hook] | null };

/** The schemas of a plugin in a slot of a kind, whose own hook it declares. */
export type SchemasOf<Kind extends SlotKind> = Kind extends SlotKind
  ? DeclaredSchemas & { readonly [Hook in Kind]: SchemaByHook[Hook] }
  : never;

const oauthPrincipalKind = 'oauth_subject';

/** The schemas of every hook, oldest first. */
export const SCHEMAS: { readonly [Hook in HookKind]: readonly SchemaByHook[Hook][] } = {
  filter: [
    {
      hook: 'filter',
      fingerprint: '049219a32497f8439572bab29c8d38cf1fde52c6d3085081c09dab3a73fa382e',
      pdkReleases: ['0.1.0'],
      oauthPrincipalKind: 'o_auth_subject',
      request: filterRequestBase,
      response: filterResponse,
    },
    {
      hook: 'filter',
      fingerprint: 'e2ddd9c3418f5b5aabd0e2b5e156c31adef6b8d60592ee71f0019baad095d98d',
      pdkReleases: ['0.1.1'],
      oauthPrincipalKind,
      request: filterRequestPriced,
      response: filterResponse,
    },
    {
      hook: 'filter',
      fingerprint: 'f20f669542349c002acd04b2308ff0d83899bf0cb5a17b818c1d938adda52834',
      pdkReleases: ['0.1.2', '0.2.0'],
      oauthPrincipalKind,
      request: filterRequestTiered,
      response: filterResponse,
    },
  ],
  shape: [
    {
      hook: 'shape',
      fingerprint: '4d8dc5140a59b01f57eed210a82d30acd078dd1e6a6e047237bd46990d10e8b6',
      pdkReleases: ['0.1.0', '0.1.1', '0.1.2', '0.2.0'],
      oauthPrincipalKind,
      request: shapeRequest,
      response: shapeResponse,
    },
  ],
  observe: [
    {
      hook: 'observe',
      fingerprint: 'a488b2dd3cfa89b8f586ca51e003d2fe5eee8f88bd99e41a7168523ac0e7429a',
      pdkReleases: ['0.1.0', '0.1.1', '0.1.2'],
      oauthPrincipalKind,
      request: observeEvent,
      response: null,
    },
  ],
  transform_response: [
    {
      hook: 'transform_response',
      fingerprint: '96aa46cba27a46674871a2a9e348c4f12d95cfd4f06b6e92374be2dbe84993c1',
      pdkReleases: ['0.1.1', '0.1.2', '0.2.0'],
      oauthPrincipalKind,
      request: transformResponseRequest,
      response: transformResponseResult,
    },
  ],
  transform_sse_event: [
    {
      hook: 'transform_sse_event',
      fingerprint: 'af8e6292457ad7bf56e77fa57813cb16005f46cb8fd2dfae01c9795f6ca31acb',
      pdkReleases: ['0.1.1', '0.1.2', '0.2.0'],
      oauthPrincipalKind,
      request: transformSseEventRequest,
      response: transformSseEventResult,
    },
  ],
};

/** Returns the schema of `hook` with `fingerprint` (64 lower-case hex digits); undefined if it is unknown. */
export function findSchema<Hook extends HookKind>(hook: Hook, fingerprint: string): SchemaByHook[Hook] | undefined {
  return SCHEMAS[hook].find((schema) => schema.fingerprint === fingerprint);
}

const describe = (schema: { hook: HookKind; fingerprint: string; pdkReleases: readonly string[] }): string =>
  `${schema.fingerprint} (hook ${schema.hook} of PDK ${schema.pdkReleases.join(', ')})`;

/**
 * Returns why `fingerprint` is not accepted for `hook`: the found fingerprint, its owner if known, and the accepted
 * ones.
 */
export function explainFingerprint(hook: HookKind, fingerprint: string): string {
  const owner = Object.values(SCHEMAS)
    .flat()
    .find((schema) => schema.fingerprint === fingerprint);
  const found = owner === undefined ? `${fingerprint} (of no published PDK)` : describe(owner);
  return `found fingerprint ${found}, expected ${SCHEMAS[hook].map(describe).join(' or ')}`;
}
