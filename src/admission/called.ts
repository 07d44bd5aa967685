/** Which layout each hook of a plugin is called with. */
import type { CellEditions } from '../slots.ts';
import { HOOK_KINDS } from '../types.ts';
import type { EditionByHook } from '../wire/editions.ts';
import type { PluginMetadata } from './metadata.ts';

const OLDEST_PDK = '0.1.0';

/**
 * The editions that the fingerprints select, as far as the host calls their hooks: a transform in noop mode is declared
 * and never called, and null here. The fingerprint of a shape does not tell how its PDK spells OAuth callers; see
 * `isOldestShape`.
 */
export function calledEditions(metadata: PluginMetadata, editions: CellEditions): CellEditions {
  const called: { -readonly [Hook in keyof CellEditions]: CellEditions[Hook] } = { ...editions };
  for (const hook of ['transform_response', 'transform_sse_event'] as const) {
    if (editions[hook] && metadata.hooks[hook]?.mode === 'noop') called[hook] = null;
  }
  if (editions.shape && isOldestShape(metadata, editions)) called.shape = asOldest(editions.shape);
  return called;
}

/**
 * Whether a shape was built with PDK 0.1.0. Later releases write the `mode` of every hook, that one of none; and a
 * hook that it does not know, or knows with another fingerprint, tells a later release as well.
 */
function isOldestShape(metadata: PluginMetadata, editions: CellEditions): boolean {
  if (metadata.hooks.shape?.mode !== null) return false;
  return HOOK_KINDS.every((hook) => editions[hook]?.pdkReleases.includes(OLDEST_PDK) ?? true);
}

function asOldest(shape: EditionByHook['shape']): EditionByHook['shape'] {
  return { ...shape, oauthPrincipalKind: 'o_auth_subject', pdkReleases: [OLDEST_PDK] };
}
