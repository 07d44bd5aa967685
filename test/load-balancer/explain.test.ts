import { describe, expect, it } from 'vitest';
import { explain } from '../../examples/load-balancer/explain.ts';
import { Prompt } from '../../examples/load-balancer/prompt.ts';
import { loadBalancer, ok, plugin, routes, upstream } from './support.ts';

describe('a dry run', () => {
  const run = { principal: 'me', method: 'POST', path: '/v1/messages', headers: [], body: '{"messages":[1]}' };

  it('decides with the predictions of a request', async () => {
    const servers = [await upstream(ok), await upstream(ok), await upstream(ok)];
    const served = routes(servers, { plugins: [plugin('filter', 'cache-aware')] });
    const { balancer } = await loadBalancer(served);
    for (const [index, { id, name }] of served.upstreams.entries()) {
      balancer.ledger.record(id, new Prompt(Buffer.from(run.body)), 100 * (index + 1));
      expect((await explain(balancer.view, balancer.ledger, run)).order[0]).toBe(name);
    }
    expect(servers.flatMap(({ received }) => received)).toEqual([]);
  });

  it('passes the headers to plugins that a request passes', async () => {
    const { balancer } = await loadBalancer(routes([await upstream(ok)], { plugins: [plugin('shape', 'rewrite')] }));
    const headers: [string, string][] = [
      ['X-Kept', '1'],
      ['Connection', 'x-hop'],
      ['x-hop', '1'],
    ];
    const { request: sent } = await explain(balancer.view, balancer.ledger, { ...run, headers });
    expect(sent!.headers.map(([name]) => name)).toEqual(['x-kept', 'x-shaped-by']);
  });

  it('calls no plugin while no upstream admits a request', async () => {
    const served = routes([await upstream(ok)], { plugins: [plugin('filter', 'cache-aware')] });
    const { balancer } = await loadBalancer(served, { breaker: { failures: 1, openMs: 60_000 } });
    balancer.view.targets[0]!.upstream.begin('me').failed(true);
    expect(await explain(balancer.view, balancer.ledger, run)).toEqual({
      candidates: [{ name: 'upstream-0', breaker: 'open' }],
      filters: [],
      order: [],
      request: null,
      problem: 'no upstream is available',
    });
  });

  it('is rejected for a target with dot segments', async () => {
    const { balancer } = await loadBalancer(routes([await upstream(ok)]));
    const dotted = { ...run, path: '/v1/../x' };
    await expect(explain(balancer.view, balancer.ledger, dotted)).rejects.toThrow(/dot segments/);
  });
});
