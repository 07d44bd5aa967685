/** The demo: plugins in the program with two workers. Each claim is checked before it is printed. */
import { failures, rejection } from './failures.ts';
import { hotSwap } from './hot-swap.ts';
import { metrics, operations } from './operations.ts';
import { claim, section } from './report.ts';
import { Stage } from './stage.ts';
import { routing, shaping, streaming } from './traffic.ts';
import { Upstream } from './upstream.ts';

/** Runs the demo with the guests of the folder `guests`. Rejects if a claim does not hold. */
export async function demo(guests: string): Promise<void> {
  const upstreams = ['north', 'east', 'south'].map((name) => new Upstream(name));
  for (const upstream of upstreams) await upstream.listen();
  const stage = new Stage(upstreams, guests);
  try {
    await start(stage);
    await routing(stage);
    await shaping(stage);
    await streaming(stage);
    await hotSwap(stage);
    await rejection(stage);
    await failures(stage);
    await operations(stage);
    await metrics(stage);
    section('Shutdown');
    const code = await stage.stop();
    claim('SIGTERM', code === 0, `exit code ${code}`);
  } finally {
    await stage.stop().catch(() => {});
    for (const upstream of upstreams) upstream.close();
  }
}

async function start(stage: Stage): Promise<void> {
  section('A load balancer with plugins, in two processes');
  const began = performance.now();
  await stage.start();
  const ms = performance.now() - began;
  const { plugins, workers } = await stage.status();
  claim(
    'plugins admitted',
    plugins.length === 7,
    `${plugins.length} slots in each worker, started in ${ms.toFixed(0)} ms`,
  );
  claim('workers', workers.length === 2 && workers.every(({ isServing }) => isServing), `${workers.length}`);
  claim('listening', true, `${stage.url}, in front of ${stage.upstreams.map(({ name }) => name).join(', ')}`);
}
