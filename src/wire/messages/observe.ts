/**
 * The message of the observe hook: an event, without an answer. PDK 0.2.0 removed the hook; its schema is equal in
 * earlier releases.
 */
import type { ObserveEvent } from '../../types.ts';
import { field, type Message, message, option, text, u16, u64 } from '../rkyv.ts';
import { type UpstreamValue, upstream } from './common.ts';

/**
 * An encoded event: its upstream is only the base URL, and the schema determines the spelling of a principal's kind.
 */
export type ObserveEventValue =
  | Exclude<ObserveEvent, { type: 'upstream_chosen' | 'authn_complete' }>
  | { readonly type: 'authn_complete'; readonly principalId: string; readonly principalKind: string }
  | { readonly type: 'upstream_chosen'; readonly upstream: UpstreamValue };

export const observeEvent: Message<ObserveEventValue> = message('ObserveEvent', {
  kind: 'enum',
  tag: 'type',
  variants: [
    { name: 'request_started', fields: [field('requestId', text), field('downstreamUserAgent', option(text))] },
    { name: 'authn_complete', fields: [field('principalId', text), field('principalKind', text)] },
    { name: 'upstream_chosen', fields: [field('upstream', upstream)] },
    { name: 'chunk', fields: [field('batchIndex', u64), field('eventCount', u64), field('totalBytes', u64)] },
    {
      name: 'request_finished',
      fields: [
        field('status', u16),
        field('inputTokens', option(u64)),
        field('outputTokens', option(u64)),
        field('cacheCreationInputTokens', option(u64)),
        field('cacheReadInputTokens', option(u64)),
        field('durationMs', u64),
      ],
    },
    { name: 'error', fields: [field('code', text), field('message', text), field('source', text)] },
  ],
});
