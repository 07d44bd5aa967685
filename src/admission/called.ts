/** Selects the wire schema of each hook that the host calls. */
import { HOOK_KINDS, type HookKind } from '../types.ts';
import type { DeclaredSchemas, SchemaByHook } from '../wire/schemas.ts';
import type { PluginMetadata } from './metadata.ts';

const OLDEST_PDK = '0.1.0';

/**
 * Returns the schemas of the hooks that the host calls. A transform in noop mode is declared and never called, and its
 * schema is null. The fingerprints of shape and observe do not determine how their PDK spells OAuth callers; see
 * `isOldest`.
 */
export function calledSchemas(metadata: PluginMetadata, schemas: DeclaredSchemas): DeclaredSchemas {
  const called: { -readonly [Hook in keyof DeclaredSchemas]: DeclaredSchemas[Hook] } = { ...schemas };
  for (const hook of ['transform_response', 'transform_sse_event'] as const) {
    if (schemas[hook] && metadata.hooks[hook]?.mode === 'noop') called[hook] = null;
  }
  if (schemas.shape && isOldest('shape', metadata, schemas)) called.shape = asOldest(schemas.shape);
  if (schemas.observe && isOldest('observe', metadata, schemas)) called.observe = asOldest(schemas.observe);
  return called;
}

/**
 * Whether a hook was built with PDK 0.1.0. Later releases write the `mode` of every hook, and PDK 0.1.0 writes none. A
 * hook that PDK 0.1.0 lacks, or has with another fingerprint, also implies a later release.
 */
function isOldest(hook: HookKind, metadata: PluginMetadata, schemas: DeclaredSchemas): boolean {
  if (metadata.hooks[hook]?.mode !== null) return false;
  return HOOK_KINDS.every((other) => schemas[other]?.pdkReleases.includes(OLDEST_PDK) ?? true);
}

function asOldest<E extends SchemaByHook[HookKind]>(schema: E): E {
  return { ...schema, oauthPrincipalKind: 'o_auth_subject', pdkReleases: [OLDEST_PDK] };
}
