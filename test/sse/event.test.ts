import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isLongEventType, parseBlock, serializeEvents } from '../../src/sse/event.ts';
import { blocksOf, eventsOf, streams } from './streams.ts';

const parse = (text: string, isFirst = false) => {
  const parsed = parseBlock(Buffer.from(text, 'latin1'), isFirst);
  return parsed && { ...parsed, data: Buffer.from(parsed.data).toString('latin1') };
};
const serialize = (events: { event: string; data: string }[], streamFields = '') =>
  serializeEvents(
    events.map(({ event, data }) => ({ event, data: Buffer.from(data, 'latin1') })),
    streamFields,
  )!.toString('latin1');

describe('parseBlock', () => {
  it.each([
    ['data: a\n\n', { event: '', data: 'a' }],
    ['event: ping\ndata: {}\n\n', { event: 'ping', data: '{}' }],
    ['data:a\r\ndata:  b\rdata\n\n', { event: '', data: 'a\n b\n' }],
    ['event: a\nevent: b\ndata: x\n\n', { event: 'b', data: 'x' }],
    ['event: a\nevent\ndata:\n\n', { event: '', data: '' }],
    [': comment\ndata: a\n: more\n\n', { event: '', data: 'a' }],
    ['data: a:b\nunknown: c\nDATA: d\n\n', { event: '', data: 'a:b' }],
    ['data: unfinished', { event: '', data: 'unfinished' }],
  ])('%j', (text, expected) => {
    expect(parse(text)).toEqual({ ...expected, streamFields: '' });
  });

  it.each(['', '\n', ': ping\n\n', 'event: a\n\n', 'id: 1\n\n', 'dat: a\n\n', ' data: a\n\n', 'datax: a\n\n'])(
    'returns null for %j',
    (text) => {
      expect(parse(text)).toBeNull();
    },
  );

  it('skips a byte order mark only at the start of the stream', () => {
    expect(parse('\u00ef\u00bb\u00bfdata: a\n\n', true)?.data).toBe('a');
    expect(parse('\u00ef\u00bb\u00bfdata: a\n\n')).toBeNull();
  });

  it('returns valid id and retry fields', () => {
    expect(parse('id: 1\nretry: 10\nid: 2\ndata: a\n\n')?.streamFields).toBe('id: 2\nretry: 10\n');
    expect(parse('id: a\0\nretry: 1s\ndata: a\n\n')?.streamFields).toBe('');
    expect(parse('id\nretry:\ndata: a\n\n')?.streamFields).toBe('id: \n');
  });

  it('joins lines of every length', () => {
    const lines = ['', 'a', 'b'.repeat(64), 'c'.repeat(65), 'd'.repeat(1_000), ''];
    for (const end of ['\n', '\r', '\r\n']) {
      expect(parse(`${lines.map((line) => `data: ${line}${end}`).join('')}${end}`)?.data).toBe(lines.join('\n'));
    }
  });

  it('decodes a type to more than 1,024 characters if it has as many, and not completely', () => {
    const typeOf = (type: string) => parseBlock(Buffer.from(`event: ${type}\ndata\n\n`), false)!.event;
    expect(isLongEventType(typeOf('a'.repeat(1_024)))).toBe(false);
    for (const character of ['a', 'é', '€', '🦀', '\u0800']) {
      const type = typeOf(character.repeat(100_000));
      expect(isLongEventType(type)).toBe(true);
      expect(type.length).toBeLessThanOrEqual(4_096);
    }
  });

  it('returns the events that a client reads', () => {
    fc.assert(
      fc.property(streams, (text) => {
        const events = blocksOf(text).map((block, index) => parse(block, index === 0));
        const seen = events.flatMap((event) => (event === null ? [] : [event]));
        expect(seen.map(({ event, data }) => ({ event: Buffer.from(event).toString('latin1'), data }))).toEqual(
          eventsOf(text).map(({ event, data }) => ({
            event: Buffer.from(Buffer.from(event, 'latin1').toString()).toString('latin1'),
            data,
          })),
        );
      }),
    );
  });
});

describe('event serialization', () => {
  it('writes a data field for each line, and id and retry with the last event', () => {
    const events = [
      { event: 'a', data: 'one\ntwo\r\nthree\rfour\n' },
      { event: '', data: '' },
    ];
    expect(serialize(events, 'id: 7\n')).toBe(
      'event: a\ndata: one\ndata: two\ndata: three\ndata: four\ndata: \n\nid: 7\ndata: \n\n',
    );
    expect(serialize([], 'id: 7\n')).toBe('');
    expect(serialize([{ event: 'é', data: 'a' }])).toBe('event: \u00c3\u00a9\ndata: a\n\n');
  });

  it('accepts 100,000 lines of all events', () => {
    const event = { event: '', data: Buffer.alloc(49_999, '\n') };
    expect(serializeEvents([event, event], '')).toHaveLength(100_000 * 'data: \n'.length + 2);
    expect(serializeEvents([event, event, { event: '', data: Buffer.alloc(0) }], '')).toBeNull();
  });

  it('round-trips through a parser', () => {
    const text = fc.string({ unit: fc.constantFrom('a', ':', ' ', '\n', '\r', '\u00ff', '\0') });
    const type = text.map((name) => name.replace(/[\r\n\u00ff]/g, ''));
    fc.assert(
      fc.property(fc.array(fc.record({ event: type, data: text })), (events) => {
        expect(eventsOf(serialize(events))).toEqual(
          events.map(({ event, data }) => ({ event, data: data.replace(/\r\n?/g, '\n') })),
        );
      }),
    );
  });
});
