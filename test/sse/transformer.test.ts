import { once } from 'node:events';
import { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ClosedError, FilterError, InvalidArgumentError, ResponseTransformError } from '../../src/errors.ts';
import { type SseDialect, SseTransformer, type SseTransformerOptions } from '../../src/sse/transformer.ts';
import type { SseEvent, TransformContext, TransformSseEventInput, TransformSseEventOutput } from '../../src/types.ts';
import { instanceWithGetters } from '../support/classes.ts';
import { blocksOf, chunksOf, eventsOf, sizes, streams } from './streams.ts';

const context: TransformContext = {
  requestId: 'r',
  principal: { id: 'p', kind: 'api_key', claims: {} },
  upstream: { kind: 'anthropic_direct' },
  requestMethod: 'POST',
  requestPath: '/v1/messages',
  canonicalModelId: 'm',
  status: 200,
  headers: { 'content-type': 'text/event-stream' },
};
const ERROR_EVENT =
  'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"the response could not be transformed"}}\n\n';
const failed = new ResponseTransformError('trap', 'unreachable');
const latin1 = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1');
const bytes = (text: string) => Buffer.from(text, 'latin1');

type Answer = (event: { event: string; data: string }, index: number) => TransformSseEventOutput | Error;
const unchanged = { kind: 'unchanged' } as const;
const drop = { kind: 'drop' } as const;
const replace = (...events: [string, string][]): TransformSseEventOutput => ({
  kind: 'replace',
  events: events.map(([event, data]): SseEvent => ({ event, data: bytes(data) })),
});

/** Creates a dialect that calls `answer` for each event, and rejects when it returns an error. */
function dialectOf(answer: Answer) {
  const inputs: TransformSseEventInput[] = [];
  const dialect: SseDialect = {
    async transformSseEventAsync(input) {
      inputs.push(input);
      const output = answer({ event: input.event.event, data: latin1(input.event.data) }, inputs.length - 1);
      if (output instanceof Error) throw output;
      return output;
    },
  };
  return { dialect, inputs };
}

async function run(chunks: Iterable<Uint8Array>, answer: Answer, options?: SseTransformerOptions) {
  const transformer = new SseTransformer(dialectOf(answer).dialect, context, options);
  let text = '';
  const client = new Writable({
    write(chunk: Uint8Array, _encoding, done) {
      text += latin1(chunk);
      done();
    },
  });
  await pipeline(Readable.from(chunks), transformer, client);
  return { text, failure: transformer.failure };
}

const three = 'event: a\ndata: 1\n\n: ping\n\nevent: b\nid: 5\ndata: 2\r\n\r\ndata: 3\r\r';
const whole = (text: string) => [bytes(text)];

describe('output of SseTransformer', () => {
  it('equals the input byte for byte when nothing changes, however it is chunked', async () => {
    await fc.assert(
      fc.asyncProperty(streams, sizes, async (text, cuts) => {
        expect(await run(chunksOf(bytes(text), cuts), () => unchanged)).toEqual({ text, failure: undefined });
      }),
    );
  });

  it('does not depend on the chunking of the input', async () => {
    const answers = fc.array(
      fc.constantFrom<TransformSseEventOutput | Error>(
        unchanged,
        unchanged,
        drop,
        replace(['x', 'y\nz']),
        replace(['', ''], ['u', 'v']),
        replace(),
        replace(['line\nbreak', '']),
        failed,
      ),
      { minLength: 1 },
    );
    await fc.assert(
      fc.asyncProperty(
        streams,
        sizes,
        answers,
        fc.integer({ min: 5, max: 60 }),
        async (text, cuts, list, maxEventBytes) => {
          const answer: Answer = (_, index) => list[index % list.length]!;
          const options = { maxEventBytes };
          const pieces = await run(chunksOf(bytes(text), cuts), answer, options);
          const one = await run(whole(text), answer, options);
          expect(pieces.text).toBe(one.text);
          expect(pieces.failure?.message).toBe(one.failure?.message);
        },
      ),
    );
  });

  it('parses to the events that the plugin returned', async () => {
    const answer: Answer = ({ data }) =>
      data.length % 3 === 0 ? drop : data.length % 3 === 1 ? replace(['x', data], ['y', '']) : unchanged;
    await fc.assert(
      fc.asyncProperty(streams, sizes, async (text, cuts) => {
        const { text: out } = await run(chunksOf(bytes(text), cuts), answer);
        const expected = eventsOf(text).flatMap((event) => {
          const output = answer(event, 0);
          if (output instanceof Error || output.kind === 'drop') return [];
          if (output.kind === 'unchanged') return [event];
          return output.events.map(({ event: type, data }) => ({ event: type, data: latin1(data) }));
        });
        expect(eventsOf(out)).toEqual(expected);
      }),
    );
  });

  it('preserves comments and id around replaced and dropped events', async () => {
    const { text } = await run(whole(three), ({ data }) => (data === '1' ? drop : replace(['n', data])));
    expect(text).toBe(': ping\n\nevent: n\nid: 5\ndata: 2\n\nevent: n\ndata: 3\n\n');
  });

  it('includes an event as soon as its blank line arrives', async () => {
    const transformer = new SseTransformer(dialectOf(() => unchanged).dialect, context);
    for (const end of ['\n\n', '\r\r', '\r\n\r\n']) {
      transformer.write(`data: a${end}`);
      const [chunk] = await once(transformer, 'data');
      expect(latin1(chunk)).toBe(`data: a${end}`);
    }
    transformer.destroy();
  });

  it('includes an event that the end of the stream cuts off', async () => {
    expect((await run(whole('data: a'), ({ data }) => replace(['x', data]))).text).toBe('event: x\ndata: a\n\n');
  });
});

describe('input of the plugin', () => {
  it('is the context and one event for each call', async () => {
    const { dialect, inputs } = dialectOf(() => unchanged);
    const transformer = new SseTransformer(dialect, context);
    transformer.end(three);
    await transformer.resume().toArray();
    expect(inputs).toHaveLength(3);
    expect(inputs[1]).toEqual({ ...context, event: { event: 'b', data: bytes('2') } });
  });

  it('has the headers of a one-shot iterator in every call', async () => {
    const { dialect, inputs } = dialectOf(() => unchanged);
    const headers = new Headers({ a: '1' }).entries();
    const transformer = new SseTransformer(dialect, { ...context, headers });
    transformer.end('data: 1\n\ndata: 2\n\n');
    await transformer.toArray();
    for (const input of inputs) expect([...(input.headers as Iterable<unknown>)]).toEqual([['a', '1']]);
  });
});

it('SseTransformer reads a context whose fields are getters of a class', async () => {
  const { dialect, inputs } = dialectOf(() => unchanged);
  const transformer = new SseTransformer(dialect, instanceWithGetters(context));
  transformer.end('data: 1\n\n');
  await transformer.toArray();
  expect(inputs).toEqual([{ ...context, event: { event: '', data: bytes('1') } }]);
});

it('SseTransformer accepts every option of its type', () => {
  const options: Required<SseTransformerOptions> = { maxEventBytes: 1, deadlineMs: 1, where: 'inline' };
  expect(() => new SseTransformer(dialectOf(() => unchanged).dialect, context, options)).not.toThrow();
});

describe('failure of a plugin', () => {
  const failAt =
    (at: number, before: TransformSseEventOutput): Answer =>
    (_, index) =>
      index === at ? failed : before;
  const stream = 'data: 1\n\ndata: 2\n\n: c\n\ndata: 3\n\ndata: 4';

  it.each([0, 1, 3])('at event %i of an unchanged stream copies the rest of the stream', async (at) => {
    for (const cuts of [[1], [1000]]) {
      const { text, failure } = await run(chunksOf(bytes(stream), cuts), failAt(at, unchanged));
      expect(text).toBe(stream);
      expect(failure).toBe(failed);
    }
  });

  it('ends the calls of the plugin', async () => {
    const { dialect, inputs } = dialectOf(failAt(1, unchanged));
    const transformer = new SseTransformer(dialect, context);
    for (const chunk of chunksOf(bytes(stream), [3])) transformer.write(chunk);
    transformer.end();
    await transformer.toArray();
    expect(inputs).toHaveLength(2);
  });

  it.each([
    ['a replaced event', replace(['x', 'y']), 'event: x\ndata: y\n\n'],
    ['a dropped event', drop, ''],
    ['an event replaced by no events', replace(), ''],
  ])('after %s ends the stream with an error event and copies no further byte', async (_, before, out) => {
    for (const cuts of [[1], [1000]]) {
      const { text, failure } = await run(chunksOf(bytes(stream), cuts), failAt(1, before));
      expect(text).toBe(out + ERROR_EVENT);
      expect(failure).toBe(failed);
    }
  });

  it('ends the output of a changed stream immediately and discards the rest of the input', async () => {
    const transformer = new SseTransformer(dialectOf(failAt(1, drop)).dialect, context);
    transformer.write('data: 1\n\ndata: 2\n\n');
    expect(Buffer.concat(await transformer.toArray()).toString()).toBe(ERROR_EVENT);
    const late = new SseTransformer(dialectOf(failAt(1, drop)).dialect, context);
    late.resume().write('data: 1\n\ndata: 2\n\n');
    await once(late, 'end');
    late.end('data: 3\n\n');
    await once(late, 'close');
    expect(late.errored).toBeNull();
  });

  it('includes an answer whose event type has a line break', async () => {
    for (const type of ['a\ndata: injected', 'a\r']) {
      const { text, failure } = await run(whole(stream), () => replace([type, '']));
      expect(text).toBe(stream);
      expect(failure).toBeInstanceOf(ResponseTransformError);
    }
  });

  it('includes an event longer than maxEventBytes', async () => {
    const endless = `data: 1\n\ndata: ${'x'.repeat(200)}`;
    const options = { maxEventBytes: 100 };
    const passed = await run(chunksOf(bytes(endless), [7]), () => unchanged, options);
    expect(passed.text).toBe(endless);
    expect(passed.failure?.message).toContain('maxEventBytes (100)');
    const changed = await run(chunksOf(bytes(endless), [7]), () => drop, options);
    expect(changed.text).toBe(ERROR_EVENT);
  });

  it('includes an event whose type has more than 1,024 characters', async () => {
    for (const [length, problem] of [
      [1_024, undefined],
      [1_025, 'an event type has more than 1024 characters'],
      [1_000_000, 'an event type has more than 1024 characters'],
    ] as const) {
      const text = `event: ${'a'.repeat(length)}\ndata: 1\n\ndata: 2\n\n`;
      const { text: output, failure } = await run(whole(text), () => unchanged);
      expect(output).toBe(text);
      expect(failure?.message).toBe(problem);
    }
    const changed = await run(whole(`data: 1\n\nevent: ${'a'.repeat(1_025)}\ndata: 2\n\n`), () => drop);
    expect(changed.text).toBe(ERROR_EVENT);
  });

  it('excludes large events: one line of 3 MB, and 99,999 lines', async () => {
    for (const text of [`data: ${'x'.repeat(3e6)}\n\n`, `${'data: x\n'.repeat(99_999)}\n`]) {
      const { text: output, failure } = await run(whole(text), ({ event, data }) => replace([event, data]));
      expect(failure).toBeUndefined();
      expect(output === text).toBe(true);
    }
  });

  it('includes an event of more than 100,000 lines, and an answer with more', async () => {
    const long = `data: 1\n\n${'data\n'.repeat(100_001)}\n`;
    for (const cuts of [[4096], [1e6]]) {
      const passed = await run(chunksOf(bytes(long), cuts), () => unchanged);
      expect(passed.text).toBe(long);
      expect(passed.failure?.message).toBe('an event has more than 100000 lines');
      expect((await run(chunksOf(bytes(long), cuts), () => drop)).text).toBe(ERROR_EVENT);
    }
    const answered = await run(whole('data: 1\n\n'), () => replace(['', ''], ['', '\n'.repeat(99_999)]));
    expect(answered.text).toBe('data: 1\n\n');
    expect(answered.failure?.message).toBe('the events of the answer have more than 100000 lines');
  });

  it('buffers at most maxEventBytes of an event', async () => {
    const transformer = new SseTransformer(dialectOf(() => unchanged).dialect, context, { maxEventBytes: 1000 });
    let out = 0;
    transformer.on('data', (chunk: Uint8Array) => {
      out += chunk.length;
    });
    for (let i = 0; i < 100; i++) {
      await new Promise((resolve) => transformer.write('x'.repeat(100), resolve));
      expect((i + 1) * 100 - out).toBeLessThanOrEqual(1000);
    }
    transformer.destroy();
  });

  it.each([new ClosedError(), new InvalidArgumentError('context.status', 'x'), new TypeError('a bug')])(
    'differs from other errors, which destroy the stream: %o',
    async (error) => {
      await expect(run(whole(stream), () => error)).rejects.toBe(error);
    },
  );

  it('may be any error of the runtime', async () => {
    const error = new FilterError('runtime', 'x');
    expect(await run(whole(stream), () => error)).toEqual({ text: stream, failure: error });
  });
});

describe('SseTransformer as a stream', () => {
  it('aborts the running call when it is destroyed', async () => {
    let signal: AbortSignal | undefined;
    const dialect: SseDialect = {
      transformSseEventAsync: (_, options) => {
        signal = options?.signal;
        return new Promise((_resolve, reject) => {
          signal?.addEventListener('abort', () => reject(signal?.reason));
        });
      },
    };
    const transformer = new SseTransformer(dialect, context);
    transformer.write('data: a\n\n');
    await new Promise((resolve) => setImmediate(resolve));
    transformer.destroy();
    await once(transformer, 'close');
    expect(signal?.aborted).toBe(true);
  });

  it('does not use the memory of a chunk after the write callback', async () => {
    const transformer = new SseTransformer(dialectOf(() => unchanged).dialect, context);
    const chunk = bytes('data: AAAA');
    await new Promise((resolve) => transformer.write(chunk, resolve));
    chunk.fill(0);
    transformer.end('\n\n');
    expect(latin1(Buffer.concat(await transformer.toArray()))).toBe('data: AAAA\n\n');
  });

  it('yields to the event loop within one chunk', async () => {
    const { dialect } = dialectOf(() => {
      const end = performance.now() + 1;
      while (performance.now() < end);
      return unchanged;
    });
    const transformer = new SseTransformer(dialect, context);
    let turns = 0;
    const count = () => {
      turns++;
      if (!transformer.readableEnded) setImmediate(count);
    };
    setImmediate(count);
    transformer.end('data: 1\n\n'.repeat(100));
    await transformer.toArray();
    expect(turns).toBeGreaterThan(10);
  });

  it('waits for a slow reader within one chunk', async () => {
    const big = 'x'.repeat(64 * 1024);
    const { dialect, inputs } = dialectOf(() => replace(['', big]));
    const transformer = new SseTransformer(dialect, context);
    transformer.end('data: 1\n\n'.repeat(100));
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(inputs.length).toBeLessThan(5);
    const chunks = await transformer.toArray();
    expect(inputs).toHaveLength(100);
    expect(chunks).toHaveLength(100);
  });

  it('pushes the events of several writes together, but none waits for a call that takes long', async () => {
    let release = () => {};
    const dialect: SseDialect = {
      async transformSseEventAsync({ event }) {
        if (latin1(event.data) === '3') await new Promise<void>((resolve) => (release = resolve));
        return unchanged;
      },
    };
    const transformer = new SseTransformer(dialect, context);
    const chunks: string[] = [];
    transformer.on('data', (chunk) => chunks.push(latin1(chunk)));
    for (const data of ['0', '1', '2', '3', '4', '5']) transformer.write(`data: ${data}\n\n`);
    await new Promise((resolve) => setImmediate(resolve));
    expect(chunks.join('')).toBe('data: 0\n\ndata: 1\n\ndata: 2\n\n');
    expect(chunks.length).toBeLessThan(3);
    release();
    await new Promise((resolve) => setImmediate(resolve));
    expect(chunks.at(-1)).toBe('data: 3\n\ndata: 4\n\ndata: 5\n\n');
    transformer.destroy();
  });

  it('accepts the rest of the input when it fails while the buffer of its reader is full', async () => {
    let calls = 0;
    const dialect: SseDialect = {
      failurePolicy: 'fail-closed',
      async transformSseEventAsync() {
        await new Promise((resolve) => setTimeout(resolve, 5));
        if (++calls === 4) throw failed;
        return unchanged;
      },
    };
    const transformer = new SseTransformer(dialect, context);
    const events = [300, 10_000, 8_000, 10, 10].map((size) => `data: ${'x'.repeat(size)}\n\n`);
    const slow = new Writable({ highWaterMark: 100, write: (_chunk, _encoding, done) => void setTimeout(done, 50) });
    await pipeline(Readable.from([bytes(events.join(''))]), transformer, slow);
    expect(transformer.failure).toBe(failed);
  });

  it('is destroyed by what a listener throws', async () => {
    const transformer = new SseTransformer(dialectOf(() => unchanged).dialect, context);
    const thrown = new Error('thrown by a listener');
    transformer.on('data', () => {
      throw thrown;
    });
    const [error] = await Promise.all([once(transformer, 'error'), transformer.write('data: 1\n\n')]);
    expect(error).toEqual([thrown]);
  });

  it('passes deadlineMs and where to every call', async () => {
    const seen: unknown[] = [];
    const dialect: SseDialect = {
      transformSseEventAsync: async (_, options) => {
        seen.push(options?.deadlineMs, options?.where);
        return unchanged;
      },
    };
    const transformer = new SseTransformer(dialect, context, { deadlineMs: 7, where: 'inline' });
    transformer.end('data: a\n\n');
    await transformer.toArray();
    expect(seen).toEqual([7, 'inline']);
  });

  it.each([
    [null, context, {}, 'dialect'],
    [{}, context, {}, 'dialect'],
    [dialectOf(() => unchanged).dialect, null, {}, 'context'],
    [dialectOf(() => unchanged).dialect, context, { maxEventBytes: 0 }, 'options.maxEventBytes'],
    [dialectOf(() => unchanged).dialect, context, { maxEventBytes: '1' }, 'options.maxEventBytes'],
    [dialectOf(() => unchanged).dialect, context, { where: 'here' }, 'options.where'],
    [dialectOf(() => unchanged).dialect, context, { timeout: 1 }, 'options.timeout'],
    [dialectOf(() => unchanged).dialect, context, null, 'options'],
  ])('rejects the arguments %o', (dialect, about, options, path) => {
    expect(() => new SseTransformer(dialect as never, about as never, options as never)).toThrow(
      expect.objectContaining({ code: 'CC_LB_INVALID_ARGUMENT', path }),
    );
  });
});

it('blocksOf splits streams as the grammar does', () => {
  expect(blocksOf(three)).toEqual([
    'event: a\ndata: 1\n\n',
    ': ping\n\n',
    'event: b\nid: 5\ndata: 2\r\n\r\n',
    'data: 3\r\r',
  ]);
});
