/** What observers are told, and what operators see of it. */
import type { ObserveEvent, ObserveStage } from 'cc-lb-runtime-wasmtime';
import { request } from 'undici';
import { claim, section, table } from './report.ts';
import type { Stage } from './stage.ts';

const DURATION = 'cc_lb_plugin_call_duration_seconds';

/** An observer that counts what the plugins are told. */
export class EventTap implements ObserveStage {
  readonly counts = new Map<ObserveEvent['type'], number>();
  tokens = { cacheRead: 0, output: 0 };

  observe(event: ObserveEvent): undefined {
    this.counts.set(event.type, (this.counts.get(event.type) ?? 0) + 1);
    if (event.type === 'request_finished') {
      this.tokens.cacheRead += Number(event.cacheReadInputTokens ?? 0);
      this.tokens.output += Number(event.outputTokens ?? 0);
    }
  }

  async observeAsync(event: ObserveEvent): Promise<undefined> {
    this.observe(event);
  }
}

/** Every event has reached the plugin, and the metrics tell of every call. */
export async function observation({ balancer, events, upstreams }: Stage, admin: string): Promise<void> {
  section('Observation (observe lifecycle) and metrics');
  const series = parseMetrics(await (await request(`${admin}/metrics`)).body.text());
  const calls = series.filter(({ name }) => name === `${DURATION}_count`);
  const told = calls.find(({ labels }) => labels.plugin === 'observer')?.value ?? 0;
  const total = [...events.counts.values()].reduce((sum, count) => sum + count, 0);
  claim('events told to the plugin', told === total && total > 0, `${told} of ${total}`);
  for (const [type, count] of events.counts) claim(`  ${type}`, count > 0, `${count}`);
  const { cacheRead, output } = events.tokens;
  const { length } = upstreams.flatMap(({ received }) => received);
  claim(
    'tokens in request_finished',
    cacheRead > 0 && output === 6 * length,
    `${output} out, ${cacheRead} from caches`,
  );
  const registered = new Set(balancer.runtime.slots().map((slot) => slot.current.pluginName));
  const rows = calls
    .filter(({ labels }) => registered.has(labels.plugin!))
    .map(({ labels, value }) => {
      const ofHook = series.filter((other) => isOf(other, labels));
      const half = ofHook.find(({ name, value: calls }) => name === `${DURATION}_bucket` && calls >= value / 2);
      const bound = Number(half?.labels.le) * 1e6;
      const traps = ofHook.filter(({ name }) => name === 'cc_lb_plugin_trap_total');
      const trapped = traps.reduce((sum, trap) => sum + trap.value, 0);
      return [labels.plugin!, labels.hook!, String(value), `${bound.toFixed(0)} µs`, String(trapped)];
    });
  table(['plugin', 'hook', 'calls', 'half of them within', 'traps'], rows);
  const traps = rows.find(([plugin]) => plugin === 'misbehaving')?.[4];
  claim('traps in the metrics', traps === '3', `${traps}`);
}

function isOf({ labels }: Sample, { plugin, hook }: Sample['labels']): boolean {
  return labels.plugin === plugin && labels.hook === hook;
}

interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** The samples of a text in Prometheus' format. */
function parseMetrics(text: string): Sample[] {
  return [...text.matchAll(/^(\w+)(?:\{(.*)\})? (\S+)$/gm)].map(([, name, labels, value]) => ({
    name: name!,
    labels: Object.fromEntries([...(labels ?? '').matchAll(/(\w+)="([^"]*)"/g)].map(([, key, text]) => [key, text])),
    value: Number(value),
  }));
}
