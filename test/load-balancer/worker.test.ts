import { EventEmitter } from 'node:events';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type Port, Remote } from '../../examples/load-balancer/ipc.ts';
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
const compiled = async (remote: Remote<WorkerService>) => {
  const metrics = await remote.call('metrics', null, 10_000);
  return metrics.find(({ name }) => name === 'cc_lb_compiled_module_cache_evictions_total')?.values[0]?.value;
};

describe('a worker', () => {
  it('admits one plugin in a call, so that the time of a call does not grow with the set', async () => {
    const remote = await startWorker({});
    const rejected = { name: 'rejected', kind: 'filter' as const, bytes: Buffer.from('no wasm') };
    const plugins = [plugin('filter', 'cache-aware'), rejected];
    await remote.call('prepare', { id: 1, routes: routes(upstreams, { plugins }) }, 10_000);
    await remote.call('admit', 0, 10_000);
    await expect(remote.call('admit', 1, 10_000)).rejects.toMatchObject({ plugin: 'rejected' });
  });

  it('commits what it admitted without compiling it again, whatever the cache holds', async () => {
    const remote = await startWorker({ maxCachedModules: 0 });
    const plugins = ['one', 'two', 'three'].map((name) => ({
      name,
      kind: 'filter' as const,
      bytes: guestOf({ metadata: { name } }),
    }));
    await remote.call('prepare', { id: 1, routes: routes(upstreams, { plugins }) }, 10_000);
    for (const index of plugins.keys()) await remote.call('admit', index, 10_000);
    await remote.call('commit', 1, 10_000);
    expect((await remote.call('report', null, 10_000)).slots.map((slot) => slot.plugin)).toEqual([
      'one',
      'two',
      'three',
    ]);
    expect(await compiled(remote)).toBe(plugins.length);
  });
});
