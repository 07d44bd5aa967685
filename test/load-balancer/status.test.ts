import { describe, expect, it } from 'vitest';
import { pluginsOf } from '../../examples/load-balancer/status.ts';
import type { SlotReport, WorkerReport } from '../../examples/load-balancer/worker.ts';
import { loadBalancer, plugin, routes } from './support.ts';

describe('the status of plugins', () => {
  it('distinguishes a plugin of all principals from one with its name', async () => {
    const served = routes([], {
      plugins: [
        plugin('filter', 'cache-aware', { name: 'same', principal: 'me' }),
        plugin('observe', 'lifecycle', { name: 'same' }),
      ],
    });
    const { balancer } = await loadBalancer(served);
    const slots = balancer.runtime.slots().map(({ status: { key, ...rest }, current }): SlotReport => {
      return { ...rest, principal: key.principal, plugin: key.plugin, version: current.metadata.version };
    });
    const members = [{ pid: 1, isServing: true, report: { slots } as unknown as WorkerReport }];
    expect(pluginsOf(members, served).map(({ principal, kind }) => [principal, kind])).toEqual([
      ['me', 'filter'],
      [null, 'observe'],
    ]);
  });
});
