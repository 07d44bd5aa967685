/** The observe hook: one event in, nothing back. Gone from PDK 0.2.0, unchanged until then. */
import type { ObserveEvent } from '../../types.ts';
import { field, type Message, message, option, text, u16, u64 } from '../rkyv.ts';
import { type UpstreamValue, upstream } from './common.ts';

/** An event as it crosses: the upstream is its base URL alone, and the schema decides how a principal's kind is spelled. */
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
