/** Operations: a kill switch, a dry run, a worker that dies, metrics of all workers. */
import { request } from 'undici';
import { post, turn } from './client.ts';
import { keyOf } from './config.ts';
import { claim, section, table } from './report.ts';
import { type Stage, TOKEN } from './stage.ts';

const DURATION = 'cc_lb_plugin_call_duration_seconds';

/** The admin server and the supervision of workers. */
export async function operations(stage: Stage): Promise<void> {
  section('Operations (the admin server)');
  const headers = { authorization: `Bearer ${TOKEN}` };
  const run = { principal: 'team', headers: [['cookie', 'a=1']], body: JSON.stringify(turn('tides', 1)) };
  const explained = await request(`${stage.admin}/explain`, { method: 'POST', headers, body: JSON.stringify(run) });
  const { order, request: shaped } = (await explained.body.json()) as { order: string[]; request: { url: string } };
  claim('dry run', order.length === 1, `would go to ${order[0]}, ${shaped.url}`);
  await stage.change('/plugins/disable', { plugin: 'rewrite', reason: 'shown in the demo' });
  const without = await post(stage.url, keyOf('team'), turn('tides', 1));
  const received = stage.upstreams.flatMap(({ received }) => received).at(-1)!;
  const { plugins } = await stage.status();
  const disabled = plugins.find(({ plugin }) => plugin === 'rewrite')!.disabled;
  claim('a plugin is disabled', without.status === 200 && disabled === 'shown in the demo', disabled ?? '');
  claim('requests continue without it', received !== undefined, `${without.status}`);
  await stage.change('/plugins/enable', { plugin: 'rewrite' });
  const [worker] = (await stage.status()).workers;
  process.kill(worker!.pid, 'SIGKILL');
  const after = await stage.until(async () => {
    const status = await stage.status();
    return (
      status.restarts === 1 &&
      status.workers.every(({ isServing }) => isServing) &&
      status.workers.length === 2 &&
      status
    );
  });
  claim('a worker that was killed', after.restarts === 1, 'replaced, with the same plugins');
  const { status } = await post(stage.url, keyOf('team'), turn('tides', 1));
  claim('the next request', status === 200, `${status}`);
}

/** The aggregated metrics of all workers. */
export async function metrics(stage: Stage): Promise<void> {
  section('Metrics of both workers');
  const series = parseMetrics(await stage.metrics());
  const rows = series
    .filter(({ name }) => name === `${DURATION}_count`)
    .map(({ labels, value }) => {
      const ofHook = series.filter(({ labels: other }) => other.plugin === labels.plugin && other.hook === labels.hook);
      const half = ofHook.find((one) => one.name === `${DURATION}_bucket` && one.value >= value / 2);
      const traps = ofHook.filter(({ name }) => name === 'cc_lb_plugin_trap_total');
      const trapped = traps.reduce((sum, trap) => sum + trap.value, 0);
      const bound = Number(half?.labels.le) * 1e6;
      return [labels.plugin!, labels.hook!, String(value), `${bound.toFixed(0)} µs`, String(trapped)];
    });
  table(['plugin', 'hook', 'calls', 'half of them within', 'traps'], rows);
  const calls = Number(rows.find(([plugin]) => plugin === 'observer')?.[2]);
  claim('events observed', calls > 0, `${calls}`);
  const swaps = series.find(({ name, labels }) => name === 'cc_lb_swaps_total' && labels.outcome === 'committed');
  claim('deployed sets', Number(swaps?.value) > 10, `${swaps?.value}, each in both workers or in none`);
}

interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Parses the samples of a text in Prometheus format. */
function parseMetrics(text: string): Sample[] {
  return [...text.matchAll(/^(\w+)(?:\{(.*)\})? (\S+)$/gm)].map(([, name, labels, value]) => ({
    name: name!,
    labels: Object.fromEntries([...(labels ?? '').matchAll(/(\w+)="([^"]*)"/g)].map(([, key, text]) => [key, text])),
    value: Number(value),
  }));
}
