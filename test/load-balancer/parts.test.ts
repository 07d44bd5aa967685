import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { Batch } from '../../examples/load-balancer/batch.ts';
import { CacheLedger } from '../../examples/load-balancer/cache-ledger.ts';
import { FairShares, Holding } from '../../examples/load-balancer/fair-shares.ts';
import { Prompt } from '../../examples/load-balancer/prompt.ts';
import { NO_USAGE, usageReader } from '../../examples/load-balancer/usage.ts';

const promptOf = (body: unknown) => new Prompt(Buffer.from(JSON.stringify(body)));

describe('Batch', () => {
  it('runs what was added until then, in order, once', () => {
    const scheduled: (() => void)[] = [];
    const batch = new Batch((run) => scheduled.push(run));
    const done: number[] = [];
    batch.add(() => {
      done.push(1);
      batch.add(() => done.push(3));
    });
    batch.add(() => done.push(2));
    expect(scheduled).toHaveLength(1);
    scheduled[0]!();
    expect(done).toEqual([1, 2]);
    expect(scheduled).toHaveLength(2);
    batch.flush();
    scheduled[1]!();
    expect(done).toEqual([1, 2, 3]);
  });
});

describe('CacheLedger', () => {
  const turn = (...contents: string[]) => promptOf({ model: 'm', messages: contents.map((content) => ({ content })) });

  it('predicts the cached tokens of the longest known prefix', () => {
    const ledger = new CacheLedger();
    ledger.record('a', turn('1'), 10);
    ledger.record('a', turn('1', '2'), 20);
    expect(ledger.predict('a', turn('1', '2', '3'))).toBe(20);
    expect(ledger.predict('a', turn('1', 'other'))).toBe(10);
    expect(ledger.predict('a', turn('2', '1'))).toBe(0);
    expect(ledger.predict('b', turn('1', '2', '3'))).toBe(0);
  });

  it('distinguishes prompts of other models, systems and tools', () => {
    const ledger = new CacheLedger();
    const messages = [{ content: '1' }];
    ledger.record('a', promptOf({ model: 'm', messages }), 10);
    for (const other of [{ model: 'n' }, { model: 'm', system: 's' }, { model: 'm', tools: [] }]) {
      expect(ledger.predict('a', promptOf({ ...other, messages }))).toBe(0);
    }
  });

  it('drops entries after their lifetime', async () => {
    const short = new CacheLedger({ keepMs: 1 });
    short.record('a', turn('1'), 10);
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(short.predict('a', turn('1'))).toBe(0);
    const small = new CacheLedger({ maxEntries: 2 });
    for (const content of ['1', '2', '1', '3']) small.record('a', turn(content), 10);
    expect(['1', '2', '3'].map((content) => small.predict('a', turn(content)))).toEqual([10, 0, 10]);
  });

  it.each([null, {}, { messages: 'none' }, { messages: [] }])('predicts nothing for %j', (body) => {
    const ledger = new CacheLedger();
    ledger.record('a', promptOf(body), 10);
    expect(ledger.predict('a', promptOf(body))).toBe(0);
  });
});

describe('usage readers', () => {
  const memory = (bytes = 10_000_000) => new Holding(new FairShares(2 * bytes), 'me');
  const stream =
    'event: message_start\r\ndata: {"message":{"usage":{"input_tokens":3,"output_tokens":1}}}\r\n\r\n' +
    ': comment\n\nevent: message_delta\ndata:{"usage":{"output_tokens":9}}\n\ndata: [DONE]\n\ndata: unfinished';

  it('return the same usage for a stream with any chunking', () => {
    const bytes = Buffer.from(stream);
    for (let size = 1; size <= bytes.length; size++) {
      const reader = usageReader('text/event-stream; charset=utf-8', memory());
      let events = 0;
      for (let at = 0; at < bytes.length; at += size) events += reader.feed(bytes.subarray(at, at + size));
      expect(events).toBe(3);
      expect(reader.usage()).toEqual({ ...NO_USAGE, inputTokens: 3, outputTokens: 9 });
    }
  });

  it('copy no line of a stream that arrives complete', () => {
    const concat = vi.spyOn(Buffer, 'concat');
    onTestFinished(() => concat.mockRestore());
    const reader = usageReader('text/event-stream', memory());
    for (const events of ['data: 1\n\n', 'data: {"usage":{"input_tokens":1}}\n\n']) reader.feed(Buffer.from(events));
    expect(reader.usage()).toEqual({ ...NO_USAGE, inputTokens: 1 });
    expect(concat).not.toHaveBeenCalled();
  });

  it('read a JSON body', () => {
    const reader = usageReader('application/json', memory());
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
  ])('return no usage for %s %s', (type, text) => {
    const reader = usageReader(type, memory());
    reader.feed(Buffer.from(text));
    expect(reader.usage()).toEqual(NO_USAGE);
  });

  it.each([
    ['application/json', '{"usage":{"input_tokens":1},"x":"'],
    ['text/event-stream', 'data: {"usage":{"input_tokens":1},"x":"'],
  ])('read no %s for which its request has no memory', (type, start) => {
    const held = memory(100);
    const reader = usageReader(type, held);
    reader.feed(Buffer.from(start));
    expect(held.take(200)).toBe(false);
    reader.feed(Buffer.alloc(200));
    expect(held.take(200)).toBe(true);
    held.release(200);
    reader.feed(Buffer.from('"}\n\n'));
    expect(reader.usage()).toEqual(NO_USAGE);
    expect(held.take(200)).toBe(true);
  });

  it.each(['application/json', 'text/event-stream'])('hold no memory after the usage of %s was read', (type) => {
    const held = memory(100);
    const reader = usageReader(type, held);
    for (const part of [type.includes('json') ? ' ' : 'data:', '{"usage":{"input_', 'tokens":1}}\n', '\n']) {
      reader.feed(Buffer.from(part));
    }
    expect(reader.usage()).toEqual({ ...NO_USAGE, inputTokens: 1 });
    expect(held.take(200)).toBe(true);
  });

  it('skip lines that are too long', () => {
    const reader = usageReader('text/event-stream', memory());
    const long = Buffer.alloc(1024 * 1024, 'x');
    reader.feed(Buffer.from('data: '));
    for (let i = 0; i < 5; i++) reader.feed(long);
    reader.feed(Buffer.from('\n\ndata: {"usage":{"input_tokens":1}}\n\n'));
    expect(reader.usage()).toEqual({ ...NO_USAGE, inputTokens: 1 });
  });
});
