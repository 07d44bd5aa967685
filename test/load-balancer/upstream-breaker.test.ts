import { describe, expect, it } from 'vitest';
import { UpstreamBreaker } from '../../examples/load-balancer/upstream-breaker.ts';
import { loadBalancer, plugin, principal, reply, routes, upstream } from './support.ts';

const WAS_SENT = true;
const options = { failures: 2, openMs: 60_000 };

function failing(breaker: UpstreamBreaker, principals: readonly string[], wasSent = WAS_SENT): void {
  for (const name of principals) breaker.begin(name).failed(wasSent);
}

describe('the breaker of an upstream', () => {
  it('opens for the principal whose requests have no answer, and not for others', () => {
    const breaker = new UpstreamBreaker(options);
    failing(breaker, ['bad', 'bad', 'bad', 'bad', 'worse', 'worse', 'worse']);
    expect([breaker.admits('bad'), breaker.admits('worse'), breaker.admits('me')]).toEqual([false, false, true]);
    expect(breaker.state).toBe('open');
  });

  it('closes for a principal with the next answer to one of its requests', () => {
    const breaker = new UpstreamBreaker(options);
    const earlier = breaker.begin('bad');
    failing(breaker, ['bad', 'bad']);
    breaker.begin('me').succeeded();
    expect(breaker.admits('bad')).toBe(false);
    earlier.succeeded();
    expect(breaker.admits('bad')).toBe(true);
    expect(breaker.state).toBe('closed');
  });

  it('opens for all if it cannot be connected to', () => {
    const breaker = new UpstreamBreaker(options);
    failing(breaker, ['bad', 'bad'], !WAS_SENT);
    expect(breaker.admits('me')).toBe(false);
  });

  it('opens for all if requests of three principals have no answer, without an answer in between', () => {
    const breaker = new UpstreamBreaker(options);
    failing(breaker, ['a', 'b']);
    breaker.begin('me').succeeded();
    failing(breaker, ['c', 'a', 'b']);
    expect(breaker.admits('me')).toBe(true);
    failing(breaker, ['c']);
    expect(breaker.admits('me')).toBe(false);
  });

  it('allows one request as a trial of all, which decides about all', () => {
    const breaker = new UpstreamBreaker({ failures: 1, openMs: 0 });
    failing(breaker, ['bad'], !WAS_SENT);
    const trial = breaker.begin('me');
    expect(breaker.admits('other')).toBe(false);
    trial.abandoned();
    expect(breaker.admits('other')).toBe(true);
    const next = breaker.begin('other');
    next.succeeded();
    expect([breaker.admits('other'), breaker.admits('me')]).toEqual([true, true]);
  });
});

describe('the requests of one principal that an upstream does not answer', () => {
  const two = { principals: [principal('me'), principal('bad')] };

  it('do not keep those of others from it', async () => {
    const server = await upstream(({ url, socket }, response) =>
      url === '/reset' ? socket.destroy() : response.end('ok'),
    );
    const { url } = await loadBalancer(routes([server], two), { breaker: options });
    const statusOf = async (key: string, path: string) => (await reply(url, { key, path })).status;
    expect([await statusOf('bad', '/reset'), await statusOf('bad', '/reset')]).toEqual([502, 502]);
    expect(await statusOf('bad', '/')).toBe(503);
    expect(await statusOf('me', '/')).toBe(200);
  });

  it('are not its fault if a shape sent them to another origin', async () => {
    const server = await upstream((_, response) => response.end('ok'));
    const elsewhere = plugin('shape', 'misbehave', { principal: 'bad' });
    const served = routes([server], { ...two, plugins: [elsewhere] });
    const { url, log } = await loadBalancer(served, {
      breaker: options,
      engine: { shapeOriginPolicy: 'unrestricted' },
    });
    for (let i = 0; i < 3; i++) await reply(url, { key: 'bad' });
    expect(log).not.toEqual([]);
    expect((await reply(url)).status).toBe(200);
  });
});
