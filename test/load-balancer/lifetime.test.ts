/** Plugins and routes are published, connections are closed, and metrics are collected while the load balancer runs. */
import { request as httpRequest } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { ModuleRejectedError, SlotKey } from 'cc-lb-runtime-wasmtime';
import { Agent, request } from 'undici';
import { describe, expect, it, onTestFinished } from 'vitest';
import { guest as guestOf, LONGER_THAN_PROBES, misbehavesAfterProbe } from '../support/guest.ts';
import { plugin as guest } from '../support/plugins.ts';
import { loadBalancer, ok, plugin, post, principal, reply, routes, until, upstream } from './support.ts';

describe('publish', () => {
  it('swaps plugins, then evicts unused slots', async () => {
    const server = await upstream(ok);
    const filter = plugin('filter', 'cache-aware');
    const { balancer } = await loadBalancer(routes([server], { plugins: [filter, plugin('shape', 'rewrite')] }));
    const before = balancer.view;
    await balancer.publish(routes([server], { plugins: [{ ...filter, bytes: guest('cache-aware-v2') }] }));
    expect(balancer.view).not.toBe(before);
    expect(balancer.runtime.slotCount).toBe(1);
    expect(balancer.runtime.getSlot(SlotKey.global('cache-aware'))!.current.versionId).toBe(2);
  });

  it('sends a request that began before to an upstream that is removed', async () => {
    const server = await upstream(ok);
    const { balancer, url } = await loadBalancer(routes([server]));
    const sent = httpRequest(`${url}/v1/messages`, { method: 'POST', headers: { 'x-api-key': 'me' }, agent: false });
    const answered = new Promise<number>((resolve, reject) => {
      sent.on('response', (response) => resolve(response.resume().statusCode!)).on('error', reject);
    });
    sent.write('{');
    await until(() => balancer.requestsInFlight === 1);
    await balancer.publish(routes([]));
    sent.end('}');
    expect(await answered).toBe(200);
  });

  it('keeps the breaker of a renamed upstream', async () => {
    const server = await upstream((_, response) => response.destroy());
    const served = routes([server]);
    const { balancer, url } = await loadBalancer(served, { breaker: { failures: 1, openMs: 600_000 } });
    await reply(url);
    await balancer.publish({ ...served, upstreams: [{ ...served.upstreams[0]!, name: 'renamed' }] });
    const [target] = balancer.view.targets;
    expect(target).toMatchObject({ route: { name: 'renamed' }, upstream: { breaker: { state: 'open' } } });
  });

  it('changes nothing when a plugin is rejected', async () => {
    const server = await upstream(ok);
    const served = routes([server], { plugins: [plugin('shape', 'rewrite')] });
    const { balancer, url } = await loadBalancer(served);
    const before = balancer.view;
    const plugins = [plugin('filter', 'cache-aware'), { ...plugin('shape', 'rewrite'), bytes: Buffer.from('no wasm') }];
    const rejected = await balancer.publish({ ...served, plugins }).catch((error: unknown) => error);
    expect(rejected).toMatchObject({ plugin: 'rewrite', cause: expect.any(ModuleRejectedError) });
    expect(balancer.view).toBe(before);
    expect(balancer.runtime.slots().map(({ key }) => key.plugin)).toEqual(['rewrite']);
    expect((await reply(url)).status).toBe(200);
    expect(server.received[0]!.request.headers).toHaveProperty('x-shaped-by');
  });

  it('rejects two plugins with one name', async () => {
    const { balancer } = await loadBalancer(routes([]));
    const twice = [plugin('filter', 'cache-aware'), plugin('filter', 'cache-aware')];
    await expect(balancer.publish(routes([], { plugins: twice }))).rejects.toThrow(/twice/);
  });

  it('makes requests fail with route_no_upstream_after_filter if the routes have no upstreams', async () => {
    const { url } = await loadBalancer(routes([]));
    expect(JSON.parse((await reply(url)).text).error.code).toBe('route_no_upstream_after_filter');
  });
});

it('keeps one copy of the body of a request while its answer is streamed', async () => {
  const body = Buffer.alloc(8 * 2 ** 20, '{}');
  let end = () => {};
  const server = await upstream((_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write('data: {"usage":{"cache_read_input_tokens":1}}\n\n');
    end = () => response.end();
  });
  const plugins = [plugin('filter', 'cache-aware'), plugin('shape', 'rewrite')];
  const { url } = await loadBalancer(routes([server], { plugins }));
  const before = await bufferBytes();
  const { body: answer } = await post(url, { body });
  const parts = answer.iterator();
  await parts.next();
  expect((await bufferBytes()) - before).toBeLessThan(1.5 * body.length);
  end();
  expect(await parts.next()).toEqual({ done: true });
});

/** Returns the bytes of all live buffers. */
async function bufferBytes(): Promise<number> {
  setFlagsFromString('--expose-gc');
  const collect: () => void = runInNewContext('gc');
  for (let round = 0; round < 3; round++) {
    collect();
    await delay(5);
  }
  return process.memoryUsage().external;
}

describe('close', () => {
  it('does not wait for connections that become idle', async () => {
    let answer = () => {};
    const server = await upstream((_, response) => {
      answer = () => response.end('late');
    });
    const { url, balancer } = await loadBalancer(routes([server]));
    const agent = new Agent();
    onTestFinished(() => agent.destroy());
    const headers = { 'x-api-key': 'me' };
    const running = request(url, { method: 'POST', headers, body: '{}', dispatcher: agent });
    await until(() => server.received.length === 1);
    // Without a limit that this test would live to see.
    const closed = balancer.close({ graceMs: 2 ** 31 - 1 });
    answer();
    expect(await (await running).body.text()).toBe('late');
    await closed;
  });

  it('lets running requests finish and accepts no new ones', async () => {
    const server = await upstream(async (_, response) => {
      await delay(200);
      response.end('late');
    });
    const { url, balancer } = await loadBalancer(routes([server]));
    const running = reply(url);
    await until(() => server.received.length === 1);
    const closed = balancer.close();
    await expect(reply(url)).rejects.toThrow(/ECONNREFUSED/);
    expect(await running).toMatchObject({ status: 200, text: 'late' });
    await closed;
  });

  it('closes requests that exceed the grace period', async () => {
    const server = await upstream(() => {});
    const { url, balancer } = await loadBalancer(routes([server]));
    const running = reply(url);
    running.catch(() => {});
    await until(() => server.received.length === 1);
    await balancer.close({ graceMs: 50 });
    await expect(running).rejects.toThrow();
  });

  it('does not wait for the plugin calls of requests that it has closed', async () => {
    const endless = guestOf({ hook: misbehavesAfterProbe('(loop (br 0)) unreachable') });
    const served = routes([await upstream(ok)], {
      principals: [principal('endless')],
      plugins: [{ name: 'endless', kind: 'filter', bytes: endless, deadlineMs: 20_000 }],
    });
    const { url, balancer } = await loadBalancer(served);
    const body = 'x'.repeat(LONGER_THAN_PROBES);
    // One after the other, they would run for longer than the time limit of this test.
    for (let i = 0; i < 5; i++) reply(url, { key: 'endless', body }).catch(() => {});
    await until(() => balancer.runtime.stats().inFlight === 5);
    await balancer.close({ graceMs: 1 });
    expect(balancer.runtime.stats().inFlight).toBe(5);
  });

  it('reports the ends of the last requests to observers before the runtime is closed', async () => {
    const server = await upstream(() => {});
    const plugins = [plugin('observe', 'lifecycle')];
    const { url, balancer, events, log } = await loadBalancer(routes([server], { plugins }));
    reply(url).catch(() => {});
    await until(() => server.received.length === 1);
    await balancer.close({ graceMs: 1 });
    expect(events.at(-1)).toMatchObject({ type: 'request_finished', status: 499 });
    expect(log.filter(({ message }) => message.includes('could not be observed'))).toEqual([]);
  });
});

describe('the registry', () => {
  it('contains the series of requests and of the runtime', async () => {
    const server = await upstream(ok);
    const { url, balancer } = await loadBalancer(routes([server], { plugins: [plugin('filter', 'cache-aware')] }));
    await reply(url);
    await reply(url, { key: 'stranger' });
    await until(() => balancer.requestsInFlight === 0);
    const metrics = await balancer.registry.metrics();
    expect(metrics).toContain('cc_lb_requests_total{status="200"} 1');
    expect(metrics).toContain('cc_lb_requests_total{status="401"} 1');
    expect(metrics).toContain('cc_lb_requests_in_flight 0');
    expect(metrics).toMatch(/cc_lb_plugin_call_duration_seconds_count\{.*plugin="cache-aware".*\} \d/);
    expect(await balancer.registry.metrics()).toContain('cc_lb_requests_total{status="200"} 1');
    expect(metrics).toContain('cc_lb_plugin_memory_max_pages 2048');
  });
});
