import { describe, expect, it } from 'vitest';
import { calledSchemas } from '../../src/admission/called.ts';
import type { HookMode, PluginMetadata } from '../../src/admission/metadata.ts';
import { type HookKind, SlotKey, type WasmtimeRuntime, WasmtimeUpstreamDialect } from '../../src/index.ts';
import type { DeclaredSchemas } from '../../src/wire/schemas.ts';
import { SCHEMAS } from '../../src/wire/schemas.ts';
import { plugin } from '../support/plugins.ts';
import { isolatedRuntime } from '../support/runtimes.ts';
import { caller, request, response, upstream } from '../support/samples.ts';

const oauth = { ...caller(), kind: 'oauth_subject' as const };

/** Returns metadata with these hooks, each with its mode. */
function metadata(modes: Partial<Record<HookKind, HookMode | null>>): PluginMetadata {
  const hooks = Object.entries(modes).map(([hook, mode]) => [
    hook,
    { wireVersion: 1, description: 'd', usage: 'u', mode },
  ]);
  return { name: 'n', version: '1', description: 'd', usage: 'u', hooks: Object.fromEntries(hooks) };
}

const shape = SCHEMAS.shape[0]!;
const oldestFilter = SCHEMAS.filter[0]!;
const newestFilter = SCHEMAS.filter[2]!;
const observe = SCHEMAS.observe[0]!;
const transform_response = SCHEMAS.transform_response[0]!;
const transform_sse_event = SCHEMAS.transform_sse_event[0]!;

describe('schemas of the hooks that are called', () => {
  it('exclude transforms in noop mode', () => {
    const modes = { shape: 'active', transform_response: 'noop', transform_sse_event: 'active' } as const;
    const schemas = { shape, transform_response, transform_sse_event };
    expect(calledSchemas(metadata(modes), schemas)).toEqual({ ...schemas, transform_response: null });
  });

  it.each<[string, Partial<Record<HookKind, HookMode | null>>, DeclaredSchemas, string]>([
    ['a shape without mode', { shape: null }, { shape }, 'o_auth_subject'],
    [
      'a shape without mode and the oldest filter',
      { shape: null, filter: null },
      { shape, filter: oldestFilter },
      'o_auth_subject',
    ],
    ['a shape without mode and an observe hook', { shape: null, observe: null }, { shape, observe }, 'o_auth_subject'],
    ['a shape with a mode', { shape: 'active' }, { shape }, 'oauth_subject'],
    [
      'a shape with a mode and the oldest filter',
      { shape: 'active' },
      { shape, filter: oldestFilter },
      'oauth_subject',
    ],
    ['a shape without mode and a later filter', { shape: null }, { shape, filter: newestFilter }, 'oauth_subject'],
    ['a shape without mode and transforms', { shape: null }, { shape, transform_response }, 'oauth_subject'],
  ])('spell OAuth callers for %s', (_, modes, schemas, kind) => {
    const called = calledSchemas(metadata(modes), schemas);
    expect(called.shape?.oauthPrincipalKind).toBe(kind);
    expect(called.shape?.request).toBe(shape.request);
    expect(called.filter).toBe(schemas.filter);
  });

  it.each<[string, Partial<Record<HookKind, HookMode | null>>, DeclaredSchemas, string]>([
    ['an observe hook without mode', { observe: null }, { observe }, 'o_auth_subject'],
    ['together with a shape without mode', { observe: null, shape: null }, { observe, shape }, 'o_auth_subject'],
    ['an observe hook with a mode', { observe: 'active' }, { observe }, 'oauth_subject'],
    [
      'without mode, together with a later filter',
      { observe: null },
      { observe, filter: newestFilter },
      'oauth_subject',
    ],
  ])('spell OAuth callers of an observer: %s', (_, modes, schemas, kind) => {
    const called = calledSchemas(metadata(modes), schemas);
    expect(called.observe?.oauthPrincipalKind).toBe(kind);
    expect(called.observe?.request).toBe(observe.request);
  });
});

describe.each([
  ['report-0-1-0', 'o_auth_subject'],
  ['report-0-1-1', 'oauth_subject'],
  ['report-0-1-2', 'oauth_subject'],
  ['report-0-2-0', 'oauth_subject'],
])('%s', (name, kind) => {
  const seen = (runtime: WasmtimeRuntime) => {
    const slot = runtime.registerShape(SlotKey.global('k'), 'n', plugin(name));
    const dialect = new WasmtimeUpstreamDialect(runtime, slot);
    const bodies = [dialect.shape(request(), upstream, oauth).body];
    const transformed = dialect.transformResponse({ ...response(), principal: oauth });
    if (transformed.kind === 'replace') bodies.push(transformed.body!);
    return bodies.map((body) => JSON.parse(Buffer.from(body).toString()).principal.kind);
  };

  it(`receives OAuth callers as ${kind}, also when it comes from the cache of admitted modules`, () => {
    const engine = { engineGroup: `called ${name}` };
    const hooks = name === 'report-0-1-0' ? 1 : 2;
    for (const runtime of [isolatedRuntime({}, engine), isolatedRuntime({}, engine)]) {
      expect(seen(runtime)).toEqual(new Array(hooks).fill(kind));
    }
  });
});
