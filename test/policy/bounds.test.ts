import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { truncateUtf8 } from '../../src/policy/bounds.ts';

describe('truncateUtf8', () => {
  it('returns the longest prefix that fits and splits no character', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.nat(60), (text, cap) => {
        const characters = [...text];
        let expected = '';
        while (characters.length > 0 && Buffer.byteLength(expected + characters[0]) <= cap)
          expected += characters.shift();
        expect(truncateUtf8(text, cap)).toBe(expected);
      }),
    );
  });

  it('accepts a limit larger than any string', () => {
    expect(truncateUtf8('é'.repeat(1000), 4_294_967_295)).toHaveLength(1000);
  });
});
