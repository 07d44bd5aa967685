import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SseSplitter, TOO_LARGE, TOO_MANY_LINES } from '../../src/sse/splitter.ts';
import { blocksOf, chunksOf, sizes, streams } from './streams.ts';

const bytes = (text: string) => Buffer.from(text, 'latin1');

/** Returns the blocks of a stream fed in chunks; undefined when one is too large. */
function split(chunks: readonly Uint8Array[], maxBytes = 1000): string[] | undefined {
  const splitter = new SseSplitter(maxBytes);
  const blocks: string[] = [];
  for (const chunk of chunks) {
    splitter.feed(chunk);
    for (;;) {
      const block = splitter.next();
      if (block === TOO_LARGE || block === TOO_MANY_LINES) return undefined;
      if (block === null) break;
      if (block.belongsToPrevious) blocks[blocks.length - 1] += block.bytes.toString('latin1');
      else blocks.push(block.bytes.toString('latin1'));
    }
  }
  const rest = splitter.rest().toString('latin1');
  return rest === '' ? blocks : [...blocks, rest];
}

describe('SseSplitter', () => {
  it('splits at blank lines, however the input is chunked', () => {
    fc.assert(
      fc.property(streams, sizes, (text, cuts) => {
        expect(split(chunksOf(bytes(text), cuts))).toEqual(blocksOf(text));
      }),
    );
  });

  it.each([
    ['data: a\n\ndata: b\n\n', ['data: a\n\n', 'data: b\n\n']],
    ['data: a\r\n\r\ndata: b\r\n\r\n', ['data: a\r\n\r\n', 'data: b\r\n\r\n']],
    ['data: a\r\rdata: b\r\r', ['data: a\r\r', 'data: b\r\r']],
    ['data: a\r\n\ndata: b\n\r\n', ['data: a\r\n\n', 'data: b\n\r\n']],
    ['\n\n\r\n\r', ['\n', '\n', '\r\n', '\r']],
    ['data: a\n', ['data: a\n']],
    ['', []],
  ])('%j', (text, blocks) => {
    expect(split([bytes(text)])).toEqual(blocks);
    expect(split(chunksOf(bytes(text), [1]))).toEqual(blocks);
  });

  it('returns a block as soon as its blank line arrives', () => {
    const splitter = new SseSplitter(100);
    for (const end of ['\n\n', '\r\r', '\r\n\r\n']) {
      splitter.feed(bytes(`data: a${end}`));
      expect(splitter.next()).toMatchObject({ belongsToPrevious: false });
      expect(splitter.next()).toBeNull();
    }
    splitter.feed(bytes('data: a\r\n\r'));
    expect(splitter.next()).toMatchObject({ bytes: bytes('data: a\r\n\r') });
    expect(splitter.next()).toBeNull();
    splitter.feed(bytes('\n'));
    expect(splitter.next()).toEqual({ bytes: bytes('\n'), belongsToPrevious: true });
  });
});

describe('maxBytes of SseSplitter', () => {
  it('applies to complete and unfinished blocks, however the input is chunked', () => {
    fc.assert(
      fc.property(streams, sizes, fc.integer({ min: 1, max: 40 }), (text, cuts, maxBytes) => {
        expect(split(chunksOf(bytes(text), cuts), maxBytes)).toEqual(split([bytes(text)], maxBytes));
      }),
    );
  });

  it('allows a block of exactly that size', () => {
    expect(split([bytes('data: a\n\n')], 9)).toEqual(['data: a\n\n']);
    expect(split([bytes('data: a\n\n')], 8)).toBeUndefined();
    expect(split([bytes('data: a')], 7)).toEqual(['data: a']);
    expect(split([bytes('data: a')], 6)).toBeUndefined();
  });

  it('leaves every byte in the rest when it is exceeded', () => {
    const splitter = new SseSplitter(10);
    splitter.feed(bytes('data: a'));
    expect(splitter.next()).toBeNull();
    splitter.feed(bytes('aaaaaa\n\nmore'));
    expect(splitter.next()).toBe(TOO_LARGE);
    expect(splitter.rest().toString()).toBe('data: aaaaaaa\n\nmore');
  });
});

describe('SseSplitter with long blocks', () => {
  it('takes linear time for every kind of line end, and for chunks of one byte', () => {
    // Quadratic time would be minutes for these sizes.
    const size = 1 << 20;
    for (const fill of ['\n', 'aaaaaaaaaaa\n', ':::::::::::\r', 'aaaaaaaaaaaaaa\r\n', 'a']) {
      const text = fill.repeat(size / fill.length);
      for (const cut of fill === 'a' ? [1] : [4096]) {
        expect(split(chunksOf(bytes(text), [cut]), size)?.join('')).toBe(text);
      }
    }
  });

  it.each(['\n', '\r', '\r\n'])('limits one to 100,000 lines that end with %j', (end) => {
    const text = `a${end}`.repeat(99_999) + end;
    for (const cut of [text.length, 777]) {
      expect(split(chunksOf(bytes(text.repeat(2)), [cut]), 1e6)).toEqual([text, text]);
      expect(split(chunksOf(bytes(`a${end}${text}`), [cut]), 1e6)).toBeUndefined();
    }
  });
});
