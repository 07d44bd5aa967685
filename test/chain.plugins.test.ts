/** PluginChain over real plugins: the effect of each failure policy when a plugin misbehaves. */
import { readFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { WasmtimeFilterPlugin } from '../src/adapters/filter.ts';
import { WasmtimeObservabilityHook } from '../src/adapters/observe.ts';
import { WasmtimeUpstreamDialect } from '../src/adapters/shape.ts';
import { PluginChain } from '../src/chain.ts';
import { ClosedError, DialectError, FilterError, InvalidArgumentError, ObservabilityError } from '../src/errors.ts';
import { WasmtimeRuntime } from '../src/runtime.ts';
import { SlotKey } from '../src/slot-key.ts';
import type { Json, Principal, RequestContext, UpstreamCandidate } from '../src/types.ts';
import { filterResponse } from '../src/wire/messages/filter.ts';
import { encodeToBytes } from './support/encode.ts';

const wasm = (name: string) => readFileSync(new URL(`plugins/wasm/${name}.wasm`, import.meta.url));
const key = (plugin: string) => SlotKey.global(plugin);
const id = (n: number) => `${String(n).repeat(8)}-aaaa-4aaa-8aaa-aaaaaaaaaaaa`;
const candidates: UpstreamCandidate[] = [1, 2, 3].map((n) => ({
  upstreamId: id(n),
  name: `upstream ${n}`,
  kind: 'anthropic',
  observedAtUnixSecs: 0,
  predictedCacheReadTokens: 10 * n,
}));
const principal = (claims: Record<string, Json>): Principal => ({ id: 'p', kind: 'api_key', claims });
const ctx: RequestContext = {
  requestId: 'r',
  method: 'POST',
  path: '/v1/messages',
  query: null,
  headers: { 'content-type': 'application/json', authorization: 'Bearer secret' },
  body: Buffer.from('{}'),
};
const upstream = { kind: 'anthropic_direct', baseUrl: 'https://up.test' } as const;

const runtime = new WasmtimeRuntime({ deadlineMs: 2000 });
afterAll(() => runtime.close());
const policies = ['pass-through', 'fail-closed'] as const;
type Policy = (typeof policies)[number];

function filterOf(name: string, failurePolicy?: Policy) {
  const options = failurePolicy === undefined ? {} : { failurePolicy };
  return new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key(`filter ${name}`), name, wasm(name), options));
}
function shapeOf(name: string, failurePolicy: Policy) {
  return new WasmtimeUpstreamDialect(
    runtime,
    runtime.registerShape(key(`shape ${name}`), name, wasm(name), { failurePolicy }),
  );
}

describe('filters of a chain', () => {
  it('narrow the candidates in order', async () => {
    const chain = new PluginChain({ filters: [filterOf('misbehave'), filterOf('cache-aware')] });
    const keepTwo = principal({ keep: 2 });
    for (const outcome of [
      chain.filter(ctx, keepTwo, candidates),
      await chain.filterAsync(ctx, keepTwo, candidates, { where: 'thread' }),
    ]) {
      expect(outcome).toMatchObject({ kind: 'candidates', candidates: [candidates[1], candidates[2]] });
      expect(outcome.stages.map(({ plugin }) => plugin)).toEqual(['misbehave', 'cache-aware']);
    }
  });

  it.each(['unreachable', 'answer-garbage:64', 'answer-outside', 'overflow-stack'])(
    'are skipped or stop the request after %s, as their policy says',
    async (behavior) => {
      const misbehaving = principal({ do: behavior, keep: 1 });
      for (const policy of policies) {
        const chain = new PluginChain({ filters: [filterOf('misbehave', policy), filterOf('cache-aware')] });
        const inline = chain.filter(ctx, misbehaving, candidates);
        const threaded = await chain.filterAsync(ctx, misbehaving, candidates, { where: 'thread' });
        for (const outcome of [inline, threaded]) {
          expect(outcome.stages[0]?.error).toBeInstanceOf(FilterError);
          if (policy === 'pass-through') {
            expect(outcome).toMatchObject({ kind: 'candidates', candidates: [candidates[2]] });
          } else {
            expect(outcome).toMatchObject({ kind: 'unavailable', status: 503, code: 'plugin_failed' });
            expect(outcome.stages).toHaveLength(1);
          }
        }
      }
    },
  );

  it.each([
    ['named twice', [id(1), id(1)]],
    ['that was not a candidate', [id(1), id(9)]],
  ])('fail when their answer has an upstream %s', (_, ids) => {
    const results = ids.map((upstreamId) => ({ upstreamId, decision: 'accept', reason: '' }));
    const puppeteer = { ...ctx, body: encodeToBytes(filterResponse, { results }) };
    for (const policy of policies) {
      const chain = new PluginChain({ filters: [filterOf('puppet', policy)] });
      const outcome = chain.filter(puppeteer, principal({ puppet: true }), candidates);
      expect(outcome.stages[0]?.error?.message).toMatch(/more than once|not one of the candidates/);
      expect(outcome).toMatchObject(policy === 'pass-through' ? { candidates } : { code: 'plugin_failed' });
    }
  });

  it.each([
    [[id(1), id(1)], 1],
    [[id(1), id(9)], 1],
    [[id(3), id(1)], 0],
  ])('count the answer %j as invalid %i times', async (ids, invalid) => {
    const results = ids.map((upstreamId) => ({ upstreamId, decision: 'accept', reason: '' }));
    const puppeteer = { ...ctx, body: encodeToBytes(filterResponse, { results }) };
    const slot = runtime.registerFilter(key(`counted ${ids}`), 'puppet', wasm('puppet'));
    const chain = new PluginChain({ filters: [new WasmtimeFilterPlugin(runtime, slot)] });
    for (const [at, where] of (['inline', 'thread'] as const).entries()) {
      await chain.filterAsync(puppeteer, principal({ puppet: true }), candidates, { where });
      expect(slot.status.failures.invalidAnswer).toBe(invalid * (at + 1));
    }
  });

  it('make the request unavailable when they keep nothing', () => {
    const chain = new PluginChain({ filters: [filterOf('cache-aware', 'fail-closed')] });
    expect(chain.filter(ctx, principal({ keep: 0 }), candidates)).toMatchObject({
      kind: 'unavailable',
      code: 'route_no_upstream_after_filter',
    });
  });

  it('fail when their slot does not exist', () => {
    const followed = WasmtimeFilterPlugin.follow(runtime, key('never registered'));
    const outcome = new PluginChain({ filters: [followed] }).filter(ctx, principal({}), candidates);
    expect(outcome).toMatchObject({ kind: 'candidates', candidates });
    expect(outcome.stages[0]?.error).toMatchObject({ code: 'CC_LB_FILTER', cause: { code: 'CC_LB_SLOT_NOT_FOUND' } });
  });

  it('throw InvalidArgumentError for invalid arguments under any policy', async () => {
    const chain = new PluginChain({ filters: [filterOf('cache-aware', 'pass-through')] });
    const wrong = { ...ctx, method: 1 as never };
    expect(() => chain.filter(wrong, principal({}), candidates)).toThrow(InvalidArgumentError);
    await expect(chain.filterAsync(wrong, principal({}), candidates)).rejects.toThrow(InvalidArgumentError);
  });

  it('reject with the reason of an aborted call, also when the reason is a FilterError', async () => {
    const reason = new FilterError('trap', 'the other attempt');
    const chain = new PluginChain({ filters: [filterOf('misbehave', 'pass-through')] });
    for (const where of ['inline', 'thread'] as const) {
      const options = { signal: AbortSignal.abort(reason), where };
      await expect(chain.filterAsync(ctx, principal({}), candidates, options)).rejects.toBe(reason);
    }
    const controller = new AbortController();
    const options = { signal: controller.signal, where: 'thread' } as const;
    const looping = chain.filterAsync(ctx, principal({ do: 'loop' }), candidates, options);
    controller.abort(reason);
    await expect(looping).rejects.toBe(reason);
  });

  it('reject with the reason of an aborted call', async () => {
    const chain = new PluginChain({ filters: [filterOf('misbehave', 'pass-through')] });
    const signal = AbortSignal.timeout(50);
    const looping = chain.filterAsync(ctx, principal({ do: 'loop' }), candidates, { signal, where: 'thread' });
    await expect(looping).rejects.toMatchObject({ name: 'TimeoutError' });
  });
});

describe('the shape of a chain', () => {
  it('writes the request', () => {
    const outcome = new PluginChain({ shape: shapeOf('rewrite', 'fail-closed') }).shape(ctx, upstream, principal({}));
    expect(outcome).toMatchObject({ kind: 'shaped', request: { method: 'POST' } });
    expect(outcome.kind === 'shaped' && outcome.request.headers).toContainEqual(['x-shaped-by', 'rewrite/1.0.0']);
  });

  it('passes the original request through or stops it after a trap, as its policy says', async () => {
    const trapping = principal({ do: 'unreachable' });
    for (const policy of policies) {
      const chain = new PluginChain({ shape: shapeOf('misbehave', policy) });
      for (const outcome of [
        chain.shape(ctx, upstream, trapping),
        await chain.shapeAsync(ctx, upstream, trapping, { where: 'thread' }),
      ]) {
        if (policy === 'pass-through') {
          expect(outcome).toMatchObject({
            kind: 'passed-through',
            request: { method: 'POST', headers: [['content-type', 'application/json']], body: ctx.body },
          });
          expect(outcome.kind === 'passed-through' && outcome.request.url.href).toBe('https://up.test/v1/messages');
          expect(outcome.kind === 'passed-through' && outcome.error).toBeInstanceOf(DialectError);
        } else {
          expect(outcome).toMatchObject({ kind: 'unavailable', code: 'plugin_failed' });
        }
      }
    }
  });
});

it('reports events to every observer and returns their failures', async () => {
  const observers = ['lifecycle', 'misbehave'].map(
    (name) => new WasmtimeObservabilityHook(runtime, runtime.registerObserve(key(`observe ${name}`), name, wasm(name))),
  );
  const chain = new PluginChain({ observers });
  const event = { type: 'request_started', requestId: 'do:unreachable', downstreamUserAgent: null } as const;
  for (const errors of [chain.observe(event), await chain.observeAsync(event)]) {
    expect(errors).toHaveLength(1);
    expect(errors[0]).toBeInstanceOf(ObservabilityError);
  }
});

it('throws ClosedError under pass-through when the runtime is closed', () => {
  const closing = new WasmtimeRuntime();
  const slot = closing.registerFilter(key('f'), 'cache-aware', wasm('cache-aware'), { failurePolicy: 'pass-through' });
  const chain = new PluginChain({ filters: [new WasmtimeFilterPlugin(closing, slot)] });
  closing.close();
  expect(() => chain.filter(ctx, principal({}), candidates)).toThrow(ClosedError);
});
