/** Selects the wire schema of each hook that the host calls. */
import type { CellEditions } from '../slots.ts';
import { HOOK_KINDS, type HookKind } from '../types.ts';
import type { EditionByHook } from '../wire/editions.ts';
import type { PluginMetadata } from './metadata.ts';

const OLDEST_PDK = '0.1.0';

/**
 * Returns the schemas of the hooks that the host calls. A transform in noop mode is declared and never called, and its
 * schema is null. The fingerprints of shape and observe do not determine how their PDK spells OAuth callers; see
 * `isOldest`.
 */
export function calledEditions(metadata: PluginMetadata, editions: CellEditions): CellEditions {
  const called: { -readonly [Hook in keyof CellEditions]: CellEditions[Hook] } = { ...editions };
  for (const hook of ['transform_response', 'transform_sse_event'] as const) {
    if (editions[hook] && metadata.hooks[hook]?.mode === 'noop') called[hook] = null;
  }
  if (editions.shape && isOldest('shape', metadata, editions)) called.shape = asOldest(editions.shape);
  if (editions.observe && isOldest('observe', metadata, editions)) called.observe = asOldest(editions.observe);
  return called;
}

/**
 * Whether a hook was built with PDK 0.1.0. Later releases write the `mode` of every hook, and PDK 0.1.0 writes none. A
 * hook that PDK 0.1.0 lacks, or has with another fingerprint, also implies a later release.
 */
function isOldest(hook: HookKind, metadata: PluginMetadata, editions: CellEditions): boolean {
  if (metadata.hooks[hook]?.mode !== null) return false;
  return HOOK_KINDS.every((other) => editions[other]?.pdkReleases.includes(OLDEST_PDK) ?? true);
}

function asOldest<E extends EditionByHook[HookKind]>(edition: E): E {
  return { ...edition, oauthPrincipalKind: 'o_auth_subject', pdkReleases: [OLDEST_PDK] };
}
