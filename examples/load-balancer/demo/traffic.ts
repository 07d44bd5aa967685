/** The path of requests: routing by predicted cache tokens, shaping, streaming. */
import { request } from 'undici';
import { post, turn } from './client.ts';
import { keyOf } from './config.ts';
import { claim, section, table } from './report.ts';
import type { Stage } from './stage.ts';

const TURNS = 4;
const TOPICS = ['bridges', 'tides', 'clocks'];

/** Conversations, whose later turns must be sent to the upstream that cached the earlier ones. */
export async function routing({ url }: Stage): Promise<void> {
  section('Routing by predicted cache tokens (filter cache-aware)');
  const rows: string[][] = [];
  const homes = new Set<string>();
  let stayed = true;
  let asPredicted = true;
  for (const topic of TOPICS) {
    const row = [topic];
    let cached = 0;
    for (let questions = 1; questions <= TURNS; questions++) {
      const reply = await post(url, keyOf('team'), turn(topic, questions));
      const { usage } = JSON.parse(reply.text);
      const upstream = String(reply.headers['x-upstream']);
      if (questions === 1) row.push(upstream);
      stayed &&= upstream === row[1];
      asPredicted &&= usage.cache_read_input_tokens === cached;
      cached = usage.cache_read_input_tokens + usage.cache_creation_input_tokens;
      row.push(`${usage.cache_read_input_tokens} of ${cached}`);
    }
    homes.add(row[1]!);
    rows.push(row);
  }
  table(['conversation', 'upstream', ...Array.from({ length: TURNS }, (_, i) => `turn ${i + 1}, cached`)], rows);
  claim('new conversations are spread', homes.size === TOPICS.length, `over ${[...homes].join(', ')}`);
  claim('later turns stay at their cache', stayed && asPredicted, 'and read what was predicted');
}

/** The request that an upstream receives. */
export async function shaping({ url, upstreams }: Stage): Promise<void> {
  section('Shaping (shape rewrite)');
  const reply = await post(url, keyOf('team'), turn('kites', 1));
  const upstream = upstreams.find(({ name }) => name === reply.headers['x-upstream'])!;
  const { url: target, headers } = upstream.received.at(-1)!;
  claim('target', target === '/v1/messages?beta=true', target);
  claim('added by the plugin', headers['x-shaped-by'] === 'rewrite/1.0.0', `x-shaped-by: ${headers['x-shaped-by']}`);
  claim('removed by the plugin', headers.cookie === undefined, 'cookie');
  const key = headers['x-api-key'];
  claim("the client's key stays here", key === `key-for-${upstream.name}`, `upstream got x-api-key: ${key}`);
}

/** A stream, with and without a plugin that drops the events of one type. */
export async function streaming({ url }: Stage): Promise<void> {
  section('Streaming (transform_sse_event of transforms)');
  const plain = await stream(url, 'team');
  const changed = await stream(url, 'reader');
  const isPing = (event: string) => event.startsWith('event: ping\n');
  const pings = plain.events.filter(isPing).length;
  claim('events of the upstream', pings > 0, `${plain.events.length}, ${pings} of them ping`);
  const rest = plain.events.filter((event) => !isPing(event)).slice(1);
  const same = rest.every((event, index) => event === changed.events[index + 1]);
  claim('events after the plugin', changed.events.length === rest.length + 1, `${changed.events.length}, without ping`);
  claim('the others', same, 'unchanged, byte for byte');
  const times = `first event after ${changed.firstMs.toFixed(0)} ms, last after ${changed.lastMs.toFixed(0)} ms`;
  claim('forwarded immediately', changed.chunks > 1 && changed.firstMs < changed.lastMs, times);
}

/** Returns the events of a streamed answer with their text. */
async function stream(url: string, principal: string) {
  const begun = performance.now();
  const answer = await request(`${url}/v1/messages`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-api-key': keyOf(principal) },
    body: JSON.stringify({ ...turn('rivers', 1), stream: true }),
  });
  const at: number[] = [];
  let text = '';
  for await (const chunk of answer.body) {
    at.push(performance.now() - begun);
    text += chunk;
  }
  const events = text.split('\n\n').filter((event) => event !== '');
  return { events, chunks: at.length, firstMs: at[0]!, lastMs: at.at(-1)! };
}
