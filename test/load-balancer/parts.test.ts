import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { CacheLedger, promptOf } from '../../examples/load-balancer/cache-ledger.ts';
import { readConfig } from '../../examples/load-balancer/config.ts';
import { NO_USAGE, usageReader } from '../../examples/load-balancer/usage.ts';
import { guest } from './support.ts';

describe('the cache ledger', () => {
  const turn = (...contents: string[]) => promptOf({ model: 'm', messages: contents.map((content) => ({ content })) });

  it('predicts what the longest known prefix has cached', () => {
    const ledger = new CacheLedger();
    ledger.learn('a', turn('1'), 10);
    ledger.learn('a', turn('1', '2'), 20);
    expect(ledger.predict('a', turn('1', '2', '3'))).toBe(20);
    expect(ledger.predict('a', turn('1', 'other'))).toBe(10);
    expect(ledger.predict('a', turn('2', '1'))).toBe(0);
    expect(ledger.predict('b', turn('1', '2', '3'))).toBe(0);
  });

  it('tells prompts of other models, systems and tools apart', () => {
    const ledger = new CacheLedger();
    const messages = [{ content: '1' }];
    ledger.learn('a', promptOf({ model: 'm', messages }), 10);
    for (const other of [{ model: 'n' }, { model: 'm', system: 's' }, { model: 'm', tools: [] }]) {
      expect(ledger.predict('a', promptOf({ ...other, messages }))).toBe(0);
    }
  });

  it('forgets', async () => {
    const short = new CacheLedger({ keepMs: 1 });
    short.learn('a', turn('1'), 10);
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(short.predict('a', turn('1'))).toBe(0);
    const small = new CacheLedger({ maxEntries: 2 });
    for (const content of ['1', '2', '1', '3']) small.learn('a', turn(content), 10);
    expect(['1', '2', '3'].map((content) => small.predict('a', turn(content)))).toEqual([10, 0, 10]);
  });

  it.each([null, {}, { messages: 'none' }, { messages: [] }])('expects nothing of %j', (body) => {
    const ledger = new CacheLedger();
    ledger.learn('a', promptOf(body), 10);
    expect(ledger.predict('a', promptOf(body))).toBe(0);
  });
});

describe('the usage reader', () => {
  const stream =
    'event: message_start\r\ndata: {"message":{"usage":{"input_tokens":3,"output_tokens":1}}}\r\n\r\n' +
    ': comment\n\nevent: message_delta\ndata:{"usage":{"output_tokens":9}}\n\ndata: [DONE]\n\ndata: unfinished';

  it('gives the same for a stream however it is cut', () => {
    const bytes = Buffer.from(stream);
    for (let size = 1; size <= bytes.length; size++) {
      const reader = usageReader('text/event-stream; charset=utf-8');
      let events = 0;
      for (let at = 0; at < bytes.length; at += size) events += reader.feed(bytes.subarray(at, at + size));
      expect(events).toBe(3);
      expect(reader.usage()).toEqual({ ...NO_USAGE, inputTokens: 3, outputTokens: 9 });
    }
  });

  it('reads a body', () => {
    const reader = usageReader('application/json');
    for (const part of ['{"usage":{"cache_creation_input_tokens":5,', '"cache_read_input_tokens":0}}']) {
      expect(reader.feed(Buffer.from(part))).toBe(0);
    }
    expect(reader.usage()).toEqual({ ...NO_USAGE, cacheCreationInputTokens: 5, cacheReadInputTokens: 0 });
    expect(reader.usage()).toEqual(reader.usage());
  });

  it.each([
    ['application/json', '{"usage":{"input_tokens":-1,"output_tokens":1.5}}'],
    ['application/json', 'null'],
    ['application/json', '{'],
    ['text/event-stream', 'data: {"usage":7}\n\n'],
    ['text/plain', '{"usage":{"input_tokens":1}}'],
    [undefined, '{"usage":{"input_tokens":1}}'],
  ])('finds nothing in %s %s', (type, text) => {
    const reader = usageReader(type);
    reader.feed(Buffer.from(text));
    expect(reader.usage()).toEqual(NO_USAGE);
  });

  it('passes a line over that is longer than any message', () => {
    const reader = usageReader('text/event-stream');
    const long = Buffer.alloc(1024 * 1024, 'x');
    reader.feed(Buffer.from('data: '));
    for (let i = 0; i < 5; i++) reader.feed(long);
    reader.feed(Buffer.from('\n\ndata: {"usage":{"input_tokens":1}}\n\n'));
    expect(reader.usage()).toEqual({ ...NO_USAGE, inputTokens: 1 });
  });
});

describe('the config file', () => {
  const example = new URL('../../examples/load-balancer/config.example.json', import.meta.url);

  it('that is the example is read, with its plugins and its keys', async () => {
    process.env.ANTHROPIC_API_KEY = 'theirs';
    const { routes, listen } = await readConfig(example.pathname);
    expect(listen.port).toBe(8080);
    expect(routes.upstreams[0]).toMatchObject({ name: 'anthropic', apiKey: 'theirs' });
    expect(Buffer.compare(routes.plugins[0]!.bytes, guest('cache-aware'))).toBe(0);
    delete process.env.ANTHROPIC_API_KEY;
    await expect(readConfig(example.pathname)).rejects.toThrow(/ANTHROPIC_API_KEY is not set/);
  });

  it.each([
    [{ upstreams: [], principals: [], plugins: [] }, /upstreams/],
    [
      { upstreams: [{ id: 'x', name: 'a', baseUrl: 'https://a.test' }], principals: [], plugins: [] },
      /upstreams\[0\]\.id/,
    ],
    [{ port: 1 }, /port/],
  ])('that is wrong is refused with the field (%#)', async (content, message) => {
    const folder = await mkdtemp(join(tmpdir(), 'balancer-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    const path = join(folder, 'config.json');
    await writeFile(path, JSON.stringify(content));
    await expect(readConfig(path)).rejects.toThrow(message);
  });
});
