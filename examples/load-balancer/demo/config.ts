/** The config of the demo: principals and plugins. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';

/** The deadline of a filter of the demo in milliseconds. */
export const DEADLINE_MS = 100;

/** Plugins that the demo writes to the plugin folder and swaps there. */
export const FOLDER_PLUGINS: readonly { file: string; guest: string; options?: object }[] = [
  { file: 'cache-aware', guest: 'cache-aware' },
  { file: 'observer', guest: 'lifecycle', options: { deadlineMs: DEADLINE_MS } },
];

/** Returns the key of a principal. */
export function keyOf(principal: string): string {
  return `key-of-${principal}`;
}

/** Returns the config file of the demo. */
export function configOf(upstreams: readonly { name: string; url: string }[], guests: string): object {
  const file = (name: string) => join(guests, `${name}.wasm`);
  const misbehave = { kind: 'filter', name: 'misbehaving', file: file('misbehave') };
  const any = { host: '127.0.0.1', port: 0 };
  return {
    listen: any,
    admin: { ...any, tokenVariable: 'CC_LB_ADMIN_TOKEN' },
    workers: 2,
    graceMs: 2_000,
    upstreams: upstreams.map(({ name, url }, index) => ({
      id: `00000000-0000-4000-8000-00000000000${index}`,
      name,
      baseUrl: url,
      apiKeyVariable: `KEY_FOR_${name.toUpperCase()}`,
    })),
    principals: [
      principal('team', { keep: 1 }),
      principal('reader', { transform: 'drop', event: 'ping' }),
      principal('lenient', { do: 'unreachable' }),
      principal('strict', { do: 'unreachable' }),
      principal('looping', { do: 'loop' }),
    ],
    plugins: [
      { kind: 'shape', name: 'rewrite', file: file('rewrite') },
      { kind: 'shape', name: 'transforms', file: file('transforms'), principal: 'reader' },
      { ...misbehave, principal: 'lenient', failurePolicy: 'pass-through' },
      { ...misbehave, principal: 'strict', failurePolicy: 'fail-closed' },
      { ...misbehave, principal: 'looping', failurePolicy: 'fail-closed', deadlineMs: DEADLINE_MS },
    ],
    pluginFolder: { path: 'plugins', settleMs: 20 },
  };
}

function principal(id: string, claims: object) {
  return { id, kind: 'api_key', claims, keySha256: createHash('sha256').update(keyOf(id)).digest('hex') };
}
