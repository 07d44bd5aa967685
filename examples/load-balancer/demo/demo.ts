/** The demo: real plugins in a real load balancer. Each claim is checked before it is printed. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { adminServer } from '../admin.ts';
import { LoadBalancer, listening } from '../load-balancer.ts';
import { failures, refusal } from './failures.ts';
import { hotSwap } from './hot-swap.ts';
import { EventTap, observation } from './observation.ts';
import { claim, section } from './report.ts';
import { routesOf } from './routes.ts';
import type { Stage } from './stage.ts';
import { routing, shaping, streaming } from './traffic.ts';
import { Upstream } from './upstream.ts';

/** Runs the demo with the guests of the folder `guests`. Rejects where something did not happen. */
export async function demo(guests: string): Promise<void> {
  const upstreams = ['north', 'east', 'south'].map((name) => new Upstream(name));
  const events = new EventTap();
  const log: Stage['log'] = [];
  const balancer = new LoadBalancer({ observers: [events], log: (entry) => log.push(entry) });
  const admin = adminServer(balancer);
  const wasm = (name: string) => readFileSync(join(guests, `${name}.wasm`));
  try {
    for (const upstream of upstreams) await upstream.listen();
    const stage: Stage = { balancer, url: await balancer.listen(), upstreams, log, events, wasm };
    await start(stage);
    await routing(stage);
    await shaping(stage);
    await streaming(stage);
    await hotSwap(stage);
    await refusal(stage);
    await failures(stage);
    await observation(stage, await listening(admin));
  } finally {
    admin.close();
    await balancer.close({ graceMs: 1_000 });
    for (const upstream of upstreams) upstream.close();
  }
}

async function start({ balancer, url, upstreams, wasm }: Stage): Promise<void> {
  section('A load balancer with plugins');
  const begun = performance.now();
  const view = await balancer.publish(routesOf(upstreams, wasm));
  const ms = performance.now() - begun;
  claim('plugins admitted', view.keys.length === 7, `${view.keys.length} slots in ${ms.toFixed(0)} ms`);
  claim('listening', true, `${url}, in front of ${upstreams.map(({ name }) => name).join(', ')}`);
}
