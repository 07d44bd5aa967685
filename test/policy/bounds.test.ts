import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { truncateUtf8 } from '../../src/policy/bounds.ts';
import { collector } from '../support/collector.ts';

/** Bytes of a text of which a prefix is kept. */
const KEPT_BYTES = 1_000_000;

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

  it('does not keep the text in memory', () => {
    const collect = collector();
    const prefixes: string[] = [];
    const truncate = (count: number) => {
      for (let i = 0; i < count; i++) {
        const text = Buffer.alloc(KEPT_BYTES, 'x').toString('latin1');
        prefixes.push(truncateUtf8(text, 256));
      }
    };
    truncate(1);
    collect();
    const before = process.memoryUsage().heapUsed;
    truncate(32);
    collect();
    expect(process.memoryUsage().heapUsed - before).toBeLessThan((32 * KEPT_BYTES) / 2);
    expect(prefixes).toHaveLength(33);
  });

  it('accepts a limit larger than any string', () => {
    expect(truncateUtf8('é'.repeat(1000), 4_294_967_295)).toHaveLength(1000);
  });
});
