/** Who may send requests in the demo, and through which plugins they go. */
import { createHash } from 'node:crypto';
import type { PluginRoute, PrincipalRoute, Routes, UpstreamRoute } from '../routes.ts';

/** Milliseconds that a filter of the demo may take. */
export const DEADLINE_MS = 100;

/** The key of a principal. */
export function keyOf(principal: string): string {
  return `key-of-${principal}`;
}

const principals: PrincipalRoute[] = [
  principal('team', { keep: 1 }),
  principal('reader', { transform: 'drop', event: 'ping' }),
  principal('lenient', { do: 'unreachable' }),
  principal('strict', { do: 'unreachable' }),
  principal('looping', { do: 'loop' }),
];

/** The routes of the demo, with one or the other version of the filter. */
export function routesOf(
  upstreams: readonly { name: string; url: string }[],
  wasm: (name: string) => Uint8Array,
  cacheAware: 'cache-aware' | 'cache-aware-v2' = 'cache-aware',
): Routes {
  const misbehave = { kind: 'filter', name: 'misbehaving', bytes: wasm('misbehave') } as const;
  const plugins: PluginRoute[] = [
    { kind: 'filter', name: 'cache-aware', bytes: wasm(cacheAware) },
    { kind: 'shape', name: 'rewrite', bytes: wasm('rewrite') },
    { kind: 'observe', name: 'observer', bytes: wasm('lifecycle'), deadlineMs: DEADLINE_MS },
    { kind: 'shape', name: 'transforms', bytes: wasm('transforms'), principal: 'reader' },
    { ...misbehave, principal: 'lenient', failurePolicy: 'pass-through' },
    { ...misbehave, principal: 'strict', failurePolicy: 'fail-closed' },
    { ...misbehave, principal: 'looping', failurePolicy: 'fail-closed', deadlineMs: DEADLINE_MS },
  ];
  return { upstreams: upstreams.map(upstreamRoute), principals, plugins };
}

function upstreamRoute({ name, url }: { name: string; url: string }, index: number): UpstreamRoute {
  return { id: `00000000-0000-4000-8000-00000000000${index}`, name, baseUrl: url, apiKey: `key-for-${name}` };
}

function principal(id: string, claims: PrincipalRoute['claims']): PrincipalRoute {
  return { id, kind: 'api_key', claims, keySha256: createHash('sha256').update(keyOf(id)).digest('hex') };
}
