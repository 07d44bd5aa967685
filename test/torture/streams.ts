/**
 * Interleaved streams with an instance each. Every instance must have seen only its own stream's first event, and a secret that
 * is split over three events must be masked with `instance: 'stream'`; with `event` it cannot be.
 */
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { PluginChain, SlotKey, type SlotOptions, WasmtimeRuntime, WasmtimeUpstreamDialect } from '../../src/index.ts';
import { exchange } from '../support/samples.ts';
import { caller, plugin } from './guests.ts';
import { ensure, grouped, type Scenario } from './scenario.ts';

const STREAMS = 32;
const SECRET = 'sk-secret';
const key = new SlotKey('tenant', 'masker');

const contextOf = (id: string) => exchange({ requestId: id, principal: { ...caller(), id } });

export const streams: Scenario = {
  unit: 'events',
  target: 1_000_000,
  async run(run) {
    const runtime = new WasmtimeRuntime({ maxStreamBytes: 2 ** 32 }, { engineGroup: 'streams' });
    const register = (options: SlotOptions) => runtime.registerShape(key, 'masker', plugin('masker'), options);
    register({ instance: 'stream' });
    const dialect = WasmtimeUpstreamDialect.follow(runtime, key);
    let opened = 0;
    const open = () => {
      const owner = `stream ${opened++}`;
      return { owner, left: 1 + run.random.below(200), transform: dialect.openSseStream(contextOf(owner)) };
    };
    const live = Array.from({ length: STREAMS }, open);
    let masked = 0;
    while (run.hasMore) {
      const at = run.random.below(STREAMS);
      const stream = live[at]!;
      const where = run.random.below(50) === 0 ? 'thread' : 'inline';
      const event = { event: 'owner', data: Buffer.from(stream.owner) };
      const answer = await stream.transform.transform(event, { where });
      const seen = answer.kind === 'replace' ? Buffer.from(answer.events[0]!.data).toString() : answer.kind;
      ensure(seen === stream.owner, () => `${stream.owner} saw ${seen}`);
      run.count(1);
      if (--stream.left > 0) continue;
      stream.transform.close();
      live[at] = open();
      if (run.random.below(10) > 0) continue;
      const events = split(run.random.below(SECRET.length - 2) + 1, run.random.below(3) + 1);
      const received = await relayed(dialect, events);
      ensure(received === 'key ********* end', () => `${events.join('|')} became ${received}`);
      masked++;
    }
    for (const { transform } of live) transform.close();
    const { streamBytes } = runtime.stats().engine;
    ensure(streamBytes === 0, () => `${streamBytes} bytes are charged after the last stream`);
    register({ instance: 'event' });
    const unmasked = await relayed(dialect, split(3, 2));
    ensure(!unmasked.includes('*'), () => `instances that see one event each masked a split secret: ${unmasked}`);
    runtime.close();
    return [
      { name: 'streams', value: grouped(opened), ok: null },
      { name: 'split secrets masked', value: grouped(masked), ok: null },
    ];
  },
};

/** The secret in three events. */
function split(first: number, second: number): string[] {
  const end = Math.min(first + second, SECRET.length - 1);
  return [`key ${SECRET.slice(0, first)}`, SECRET.slice(first, end), `${SECRET.slice(end)} end`];
}

async function relayed(dialect: WasmtimeUpstreamDialect, events: readonly string[]): Promise<string> {
  const outcome = new PluginChain({ shape: dialect }).transformEvents(contextOf('split'));
  if (outcome.kind !== 'transforming') throw new Error('the plugin has no transform');
  const source = Readable.from(events.map((data) => Buffer.from(`data: ${data}\n\n`)));
  const received = await text(source.pipe(outcome.transformer));
  return received.replaceAll(/data: |\n/g, '');
}
