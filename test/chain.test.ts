import { describe, expect, it } from 'vitest';
import { type ObserveStage, PluginChain, type ShapeStage } from '../src/chain.ts';
import {
  ClosedError,
  DialectError,
  FilterError,
  InvalidArgumentError,
  ObservabilityError,
  PoolSaturatedError,
} from '../src/errors.ts';
import type { FilterStage } from '../src/filter-run.ts';
import type { FilterOutput, Principal, RequestContext, UpstreamCandidate } from '../src/types.ts';
import { instanceWithGetters } from './support/classes.ts';

const id = (n: number) => `${String(n).repeat(8)}-aaaa-4aaa-8aaa-aaaaaaaaaaaa`;
const candidate = (n: number): UpstreamCandidate => ({
  upstreamId: id(n),
  name: `upstream ${n}`,
  kind: 'anthropic',
  observedAtUnixSecs: 0,
});
const three = [candidate(1), candidate(2), candidate(3)];
const principal: Principal = { id: 'p', kind: 'api_key', claims: {} };
const ctx: RequestContext = {
  requestId: 'r',
  method: 'POST',
  path: '/v1/messages',
  query: 'beta=true',
  headers: { 'content-type': 'application/json', authorization: 'Bearer secret', host: 'lb.test', 'x-api-key': 'k' },
  body: new Uint8Array([1, 2, 3]),
};
const upstream = { kind: 'anthropic_direct', baseUrl: 'https://up.test/base' } as const;
const bare = { kind: 'anthropic_direct' } as const;

type Policy = FilterStage['failurePolicy'];
type Verdict = (ids: string[], ctx: RequestContext) => string[];

function output(keptUpstreamIds: string[], rejected: string[] = []): FilterOutput {
  return {
    keptUpstreamIds,
    reason: '',
    perCandidateReasons: rejected.map((upstreamId) => ({ upstreamId, reason: 'rejected_by_plugin', text: '' })),
  };
}

/** A filter stage whose verdict is a function of the candidate ids; `seen` records the ids of each call. */
function stage(verdict: (ids: string[], ctx: RequestContext) => FilterOutput, failurePolicy: Policy = 'pass-through') {
  const seen: string[][] = [];
  const decide: FilterStage['filter'] = (request, _, candidates) => {
    const ids = candidates.map(({ upstreamId }) => upstreamId);
    seen.push(ids);
    return verdict(ids, request);
  };
  const filter: FilterStage & { seen: string[][] } = {
    pluginName: 'test',
    failurePolicy,
    seen,
    filter: decide,
    filterAsync: async (...args) => decide(...args),
  };
  return filter;
}
const keeping = (verdict: Verdict, policy?: Policy) => stage((ids, request) => output(verdict(ids, request)), policy);
const failing = (error: unknown, policy?: Policy) =>
  stage(() => {
    throw error;
  }, policy);

function shapeStage(act: (ctx: RequestContext) => never, failurePolicy: Policy): ShapeStage {
  return {
    pluginName: 'test',
    failurePolicy,
    shape: act,
    shapeAsync: async (request) => act(request),
  };
}
const trap = new FilterError('trap', 'unreachable');
const shapeTrap = new DialectError('unsupported-request', 'unreachable');

/** The synchronous and the asynchronous form, which must agree. */
const forms = [
  [
    'filter',
    (filters: FilterStage[], candidates = three, request = ctx) =>
      Promise.resolve().then(() => new PluginChain({ filters }).filter(request, principal, candidates)),
  ],
  [
    'filterAsync',
    (filters: FilterStage[], candidates = three, request = ctx) =>
      new PluginChain({ filters }).filterAsync(request, principal, candidates),
  ],
] as const;

describe.each(forms)('%s', (_, run) => {
  it('passes each filter the remaining candidates in the order of the caller', async () => {
    const first = keeping(() => [id(3), id(1)]);
    const second = keeping((ids) => ids);
    const outcome = await run([first, second]);
    expect(outcome).toMatchObject({ kind: 'candidates', candidates: [three[0], three[2]] });
    expect(second.seen).toEqual([[id(1), id(3)]]);
    expect(outcome.stages.map(({ output }) => output?.keptUpstreamIds)).toEqual([
      [id(3), id(1)],
      [id(1), id(3)],
    ]);
  });

  it("returns the caller's candidate objects for any spelling of their ids", async () => {
    const odd = { ...candidate(1), upstreamId: `{${id(1).toUpperCase()}}` };
    const outcome = await run([keeping(() => [id(1)])], [odd, candidate(2)]);
    expect(outcome.kind === 'candidates' && outcome.candidates[0]).toBe(odd);
  });

  it('drops candidates that an answer does not name', async () => {
    const outcome = await run([stage(() => output([id(2)], [id(3)]))]);
    expect(outcome).toMatchObject({ kind: 'candidates', candidates: [three[1]] });
  });

  it('keeps every candidate without filters', async () => {
    expect(await run([])).toEqual({ kind: 'candidates', candidates: three, stages: [] });
  });

  it('stops at a filter that keeps nothing', async () => {
    const after = keeping((ids) => ids, 'fail-closed');
    const outcome = await run([keeping(() => []), after]);
    expect(outcome).toMatchObject({ kind: 'unavailable', status: 503, code: 'route_no_upstream_after_filter' });
    expect(outcome).not.toHaveProperty('error');
    expect(outcome).not.toHaveProperty('retryAfterSeconds');
    expect(after.seen).toEqual([]);
    expect(await run([after], [])).toMatchObject({ code: 'route_no_upstream_after_filter' });
  });

  it.each([
    ['an unknown id', output([id(1), id(9)])],
    ['an unknown id among the rejected', output([id(1)], [id(9)])],
    ['a repeated id', output([id(1), id(1)])],
    ['an id both kept and rejected', output([id(1)], [id(1)])],
    ['an id that an earlier filter dropped', output([id(3)])],
  ])('fails a stage whose answer has %s', async (_, answer) => {
    const first = keeping(() => [id(1), id(2)]);
    const passed = await run([first, stage(() => answer)]);
    expect(passed).toMatchObject({ kind: 'candidates', candidates: [three[0], three[1]] });
    expect(passed.stages[1]?.error).toBeInstanceOf(FilterError);
    expect(passed.stages[1]?.error).toMatchObject({ kind: 'runtime', plugin: 'test', hook: 'filter' });
    const closed = await run([first, stage(() => answer, 'fail-closed')]);
    expect(closed).toMatchObject({ kind: 'unavailable', code: 'plugin_failed', status: 503 });
  });

  it('keeps the candidates of a failed stage under pass-through and continues', async () => {
    const outcome = await run([keeping(() => [id(1), id(2)]), failing(trap), keeping(() => [id(2)])]);
    expect(outcome).toMatchObject({ kind: 'candidates', candidates: [three[1]] });
    expect(outcome.stages[1]).toEqual({ plugin: 'test', error: trap });
  });

  it('stops at a failed stage under fail-closed', async () => {
    const after = keeping((ids) => ids);
    const outcome = await run([failing(trap, 'fail-closed'), after]);
    expect(outcome).toEqual({
      kind: 'unavailable',
      status: 503,
      code: 'plugin_failed',
      error: trap,
      stages: [{ plugin: 'test', error: trap }],
    });
    expect(after.seen).toEqual([]);
  });

  it('returns retryAfterSeconds when the cause is saturation', async () => {
    const saturated = new FilterError('runtime', 'full', { cause: new PoolSaturatedError('stores') });
    expect(await run([failing(saturated, 'fail-closed')])).toMatchObject({ retryAfterSeconds: 1 });
  });

  it.each([new InvalidArgumentError('ctx.method', 'x'), new ClosedError(), new TypeError('a bug')])(
    'rethrows %o under every policy',
    async (error) => {
      for (const policy of ['pass-through', 'fail-closed'] as const) {
        await expect(run([failing(error, policy)])).rejects.toBe(error);
      }
    },
  );

  it('passes the headers of a one-shot iterator to every filter', async () => {
    const counts: number[] = [];
    const counting = keeping((ids, { headers }) => {
      counts.push([...(headers as Iterable<unknown>)].length);
      return ids;
    });
    await run([counting, counting], three, { ...ctx, headers: new Headers({ a: '1', b: '2' }).entries() });
    expect(counts).toEqual([2, 2]);
  });

  it('passes the getters of a class instance to every filter, also with headers from a one-shot iterator', async () => {
    const seen: RequestContext[] = [];
    const { headers: _, ...fields } = ctx;
    const looking = keeping((ids, request) => {
      seen.push(request);
      return ids;
    });
    const whole = { ...fields, threadId: 't', serviceTier: 's', canonicalModelId: 'm', cachePricing: { status: 'p' } };
    const request = instanceWithGetters({ ...whole, headers: new Headers({ a: '1' }).entries() });
    await run([looking, looking], three, request);
    for (const { headers, ...rest } of seen) {
      expect(rest).toEqual(whole);
      expect([...(headers as Iterable<unknown>)]).toEqual([['a', '1']]);
    }
    expect(seen).toHaveLength(2);
  });

  it.each([
    [[candidate(1), candidate(2), { ...candidate(1), name: 'again' }], 'candidates[2].upstreamId'],
    [[candidate(1), { ...candidate(2), upstreamId: 'two' }], 'candidates[1].upstreamId'],
    [[null], 'candidates[0].upstreamId'],
    ['abc', 'candidates'],
  ])('rejects the candidates %j', async (candidates, path) => {
    await expect(run([], candidates as UpstreamCandidate[])).rejects.toMatchObject({
      code: 'CC_LB_INVALID_ARGUMENT',
      path,
    });
  });

  it('rejects a context that is null', async () => {
    await expect(run([], three, null as never)).rejects.toMatchObject({ path: 'ctx' });
  });
});

describe('an aborted filterAsync', () => {
  it.each([new Error('stop'), trap, new PoolSaturatedError('queue')])('rejects with %o itself', async (reason) => {
    const controller = new AbortController();
    const filters = [
      {
        ...keeping((ids) => ids),
        filterAsync: () => {
          controller.abort(reason);
          return Promise.reject(reason);
        },
      },
    ];
    const shape = {
      ...shapeStage(() => {
        throw reason;
      }, 'pass-through'),
      shapeAsync: () => Promise.reject(reason),
    };
    const chain = new PluginChain({ filters, shape });
    const options = { signal: controller.signal };
    await expect(chain.filterAsync(ctx, principal, three, options)).rejects.toBe(reason);
    await expect(chain.shapeAsync(ctx, upstream, principal, options)).rejects.toBe(reason);
  });
});

const shapeForms = [
  [
    'shape',
    (shape: ShapeStage | undefined, to: typeof upstream | typeof bare, request = ctx) =>
      Promise.resolve().then(() => new PluginChain({ shape }).shape(request, to, principal)),
  ],
  [
    'shapeAsync',
    (shape: ShapeStage | undefined, to: typeof upstream | typeof bare, request = ctx) =>
      new PluginChain({ shape }).shapeAsync(request, to, principal),
  ],
] as const;

describe.each(shapeForms)('%s', (_, run) => {
  const original = {
    method: 'POST',
    headers: [['content-type', 'application/json']],
    body: ctx.body,
  };
  const fails = (policy: Policy, error: unknown = shapeTrap) =>
    shapeStage(() => {
      throw error;
    }, policy);

  it('returns the request that the shape wrote', async () => {
    const request = { url: new URL('https://x.test'), method: 'PUT', headers: [], body: new Uint8Array() };
    const shape = { ...fails('fail-closed'), shape: () => request, shapeAsync: async () => request };
    expect(await run(shape, bare)).toEqual({ kind: 'shaped', request });
  });

  it('passes the original request through without credentials when the shape fails under pass-through', async () => {
    const outcome = await run(fails('pass-through'), upstream);
    expect(outcome).toMatchObject({ kind: 'passed-through', error: shapeTrap, request: original });
    expect(outcome.kind !== 'unavailable' && outcome.request.url.href).toBe(
      'https://up.test/base/v1/messages?beta=true',
    );
  });

  it('passes headers from a one-shot iterator through after the shape has read them', async () => {
    const shape = shapeStage(({ headers }) => {
      expect([...(headers as Iterable<unknown>)]).toHaveLength(1);
      throw shapeTrap;
    }, 'pass-through');
    const outcome = await run(shape, upstream, { ...ctx, headers: new Headers({ a: '1' }).entries() });
    expect(outcome).toMatchObject({ kind: 'passed-through', request: { headers: [['a', '1']] } });
  });

  it('returns 503 when the shape fails under fail-closed', async () => {
    expect(await run(fails('fail-closed'), upstream)).toEqual({
      kind: 'unavailable',
      status: 503,
      code: 'plugin_failed',
      error: shapeTrap,
    });
  });

  it.each(['CONNECT', 'TRACE', 'TRACK', 'Trace', 'HEAD', 'head'])(
    'treats a shape that answers with %s as failed',
    async (method) => {
      const request = { url: new URL('https://x.test'), method, headers: [], body: new Uint8Array() };
      const answers = (policy: Policy) => ({
        ...fails(policy),
        shape: () => request,
        shapeAsync: async () => request,
      });
      const error = { code: 'CC_LB_DIALECT', kind: 'unsupported-request', plugin: 'test', hook: 'shape' };
      expect(await run(answers('pass-through'), upstream)).toMatchObject({
        kind: 'passed-through',
        error,
        request: original,
      });
      expect(await run(answers('fail-closed'), upstream)).toMatchObject({ kind: 'unavailable', error });
    },
  );

  it("accepts HEAD of a shape for a client's HEAD", async () => {
    const request = { url: new URL('https://x.test'), method: 'HEAD', headers: [], body: new Uint8Array() };
    const stage = { ...fails('fail-closed'), shape: () => request, shapeAsync: async () => request };
    expect(await run(stage, upstream, { ...ctx, method: 'head' })).toMatchObject({ kind: 'shaped', request });
  });

  it('returns 503 under pass-through when the request has no valid upstream URL', async () => {
    const escaping = { ...ctx, path: '/../elsewhere' };
    expect(await run(fails('pass-through'), bare)).toMatchObject({ kind: 'unavailable', code: 'plugin_failed' });
    expect(await run(fails('pass-through'), upstream, escaping)).toMatchObject({ kind: 'unavailable' });
  });

  it.each([new InvalidArgumentError('ctx', 'x'), new ClosedError(), new TypeError('a bug')])(
    'rethrows %o under every policy',
    async (error) => {
      await expect(run(fails('pass-through', error), upstream)).rejects.toBe(error);
      await expect(run(fails('fail-closed', error), upstream)).rejects.toBe(error);
    },
  );

  it('passes the request through without a shape when the upstream has a base URL', async () => {
    const outcome = await run(undefined, upstream);
    expect(outcome).toMatchObject({ kind: 'passed-through', request: original });
    expect(outcome).not.toHaveProperty('error');
    await expect(run(undefined, bare)).rejects.toMatchObject({ path: 'upstream.baseUrl' });
  });
});

describe('observers', () => {
  const event = { type: 'error', code: 'c', message: 'm', source: 's' } as const;
  const failure = new ObservabilityError('x');
  const observer = (answer: ObservabilityError | undefined): ObserveStage => ({
    observe: () => answer,
    observeAsync: async () => answer,
  });

  it('all receive the event, and observe returns their failures', async () => {
    const chain = new PluginChain({ observers: [observer(failure), observer(undefined), observer(failure)] });
    expect(chain.observe(event)).toEqual([failure, failure]);
    expect(await chain.observeAsync(event)).toEqual([failure, failure]);
  });

  it('rethrow InvalidArgumentError', async () => {
    const error = new InvalidArgumentError('event.type', 'x');
    const refusing: ObserveStage = {
      observe: () => {
        throw error;
      },
      observeAsync: () => Promise.reject(error),
    };
    const chain = new PluginChain({ observers: [refusing] });
    expect(() => chain.observe(event)).toThrow(error);
    await expect(chain.observeAsync(event)).rejects.toBe(error);
  });
});

it('copies the candidates, so that changes during a call have no effect', async () => {
  const list = [...three];
  const verdict = keeping(() => [id(3)]);
  const slow: FilterStage = {
    ...verdict,
    filterAsync: async (...args) => {
      const answer = verdict.filter(...args);
      await new Promise(setImmediate);
      return answer;
    },
  };
  const outcome = new PluginChain({ filters: [slow] }).filterAsync(ctx, principal, list);
  list.reverse();
  list.pop();
  expect(await outcome).toMatchObject({ kind: 'candidates', candidates: [three[2]] });
});

const neverCalled = (): never => {
  throw new Error('called');
};

it.each([
  [undefined, 'options'],
  ['filters', 'options'],
  [{ filter: [] }, 'options.filter'],
  [{ filters: {} }, 'filters'],
  [{ filters: [{ ...keeping(() => []), failurePolicy: 'fail-close' }] }, 'filters[0].failurePolicy'],
  [{ shape: { ...shapeStage(() => neverCalled(), 'fail-closed'), failurePolicy: undefined } }, 'shape.failurePolicy'],
  [{ filters: [{ filter() {} }] }, 'filters[0]'],
  [{ shape: {} }, 'shape'],
  [{ observers: [null] }, 'observers[0]'],
])('the constructor rejects the options %j', (options, path) => {
  expect(() => new PluginChain(options as never)).toThrow(expect.objectContaining({ path }));
});
