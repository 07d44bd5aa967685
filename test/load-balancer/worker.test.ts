import { EventEmitter } from 'node:events';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type Port, Remote } from '../../examples/load-balancer/ipc.ts';
import { routeSet } from '../../examples/load-balancer/route-set.ts';
import type { PluginRoute, Routes } from '../../examples/load-balancer/routes.ts';
import { serveWorker, type WorkerService } from '../../examples/load-balancer/worker.ts';
import { guest as guestOf } from '../support/guest.ts';
import { plugin, routes, until } from './support.ts';

/** Serves a worker in this process; returns its remote side. */
async function startWorker(engine: object): Promise<Remote<WorkerService>> {
  const [here, there] = [new EventEmitter(), new EventEmitter()];
  const portTo = (other: EventEmitter, own: EventEmitter): Port => ({
    on: (event, listener) => own.on(event, listener),
    send(message, sent) {
      setImmediate(() => other.emit('message', structuredClone(message)));
      sent(null);
    },
  });
  let isClosed = false;
  serveWorker(portTo(here, there), () => (isClosed = true));
  const remote = new Remote<WorkerService>(portTo(there, here));
  await remote.call('start', { engine, log: { level: 'silent' } }, 10_000);
  onTestFinished(async () => {
    await remote.call('close', { graceMs: 0 }, 10_000);
    await until(() => isClosed);
  });
  return remote;
}

const upstreams = [{ url: 'http://upstream.test' }];
const slotsOf = async (remote: Remote<WorkerService>) =>
  (await remote.call('report', null, 10_000)).slots.map(({ plugin: name, versionId }) => `${name} ${versionId}`);
const compiled = async (remote: Remote<WorkerService>) => {
  const metrics = await remote.call('metrics', null, 10_000);
  return metrics.find(({ name }) => name === 'cc_lb_compiled_module_cache_evictions_total')?.values[0]?.value;
};

const NOTHING: Routes = { upstreams: [], principals: [], plugins: [] };
const guestNamed = (name: string): PluginRoute => ({ name, kind: 'filter', bytes: guestOf({ metadata: { name } }) });

/** Deploys routes as the primary does; returns the names of the plugins whose bytes it sent. */
async function deploy(remote: Remote<WorkerService>, id: number, next: Routes, deployed = NOTHING): Promise<string[]> {
  const set = routeSet(id, next, deployed);
  await remote.call('prepare', set, 10_000);
  const sent: string[] = [];
  for (const [index, plugin] of set.plugins.entries()) {
    if (plugin.deployed !== null) continue;
    sent.push(plugin.name);
    await remote.call('admit', { index, bytes: next.plugins[index]!.bytes }, 10_000);
  }
  await remote.call('commit', id, 10_000);
  return sent;
}

describe('a worker', () => {
  it('admits one plugin in a call, so that the time of a call does not grow with the set', async () => {
    const remote = await startWorker({});
    const bytes = Buffer.from('no wasm');
    const plugins = [plugin('filter', 'cache-aware'), { ...guestNamed('rejected'), bytes }];
    await remote.call('prepare', routeSet(1, routes(upstreams, { plugins }), NOTHING), 10_000);
    await remote.call('admit', { index: 0, bytes: plugins[0]!.bytes }, 10_000);
    await expect(remote.call('admit', { index: 1, bytes }, 10_000)).rejects.toMatchObject({ plugin: 'rejected' });
  });

  it('commits what it admitted without compiling it again, whatever the cache holds', async () => {
    const remote = await startWorker({ maxCachedModules: 0 });
    const plugins = ['one', 'two', 'three'].map(guestNamed);
    await deploy(remote, 1, routes(upstreams, { plugins }));
    expect(await slotsOf(remote)).toEqual(['one 1', 'two 1', 'three 1']);
    expect(await compiled(remote)).toBe(plugins.length);
  });

  it('receives only the bytes of plugins that it has not deployed', async () => {
    const remote = await startWorker({});
    const first = routes(upstreams, { plugins: ['one', 'two', 'three'].map(guestNamed) });
    expect(await deploy(remote, 1, first)).toEqual(['one', 'two', 'three']);
    const changed = { ...guestNamed('two'), bytes: guestOf({ metadata: { name: 'two', version: '2.0.0' } }) };
    // The bytes of a config that was read again are equal, but not the same object.
    const slower = { ...guestNamed('one'), deadlineMs: 7 };
    const second = routes(upstreams, { plugins: [guestNamed('three'), changed, guestNamed('four'), slower] });
    expect(await deploy(remote, 2, second, first)).toEqual(['two', 'four']);
    expect((await slotsOf(remote)).sort()).toEqual(['four 1', 'one 2', 'three 1', 'two 2']);
    expect(await deploy(remote, 3, first, second)).toEqual(['two']);
    expect((await slotsOf(remote)).sort()).toEqual(['one 3', 'three 1', 'two 3']);
  });

  it('receives the bytes of a plugin that is deployed as another kind, and rejects it', async () => {
    const remote = await startWorker({});
    const both = { name: 'both', kind: 'filter' as const, bytes: guestOf({ hooks: ['filter', 'shape'] }) };
    const first = routes(upstreams, { plugins: [both] });
    await deploy(remote, 1, first);
    const second = routes(upstreams, { plugins: [{ ...both, kind: 'shape' }] });
    await expect(deploy(remote, 2, second, first)).rejects.toThrow(/deployed as filter/);
  });
});
