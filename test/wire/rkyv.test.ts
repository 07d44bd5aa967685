import { describe, expect, it } from 'vitest';
import { alignUp, field, message, option, slice, struct, text, u16, u64 } from '../../src/wire/rkyv.ts';
import { ROOTS } from './fuzz/roots.ts';
import { linesOf } from './fuzz/vectors.ts';

describe('layout', () => {
  it('has the size and alignment of the published crates for every root type', () => {
    const expected = linesOf<{ index: number; wire: string; name: string; size: number; align: number }>('roots.jsonl');
    const actual = ROOTS.map(({ wire, message: { name, size, align } }, index) => ({ index, wire, name, size, align }));
    expect(actual).toEqual(expected);
  });

  it('rounds up to an alignment', () => {
    expect([0, 1, 7, 8, 9].map((position) => alignUp(position, 8))).toEqual([0, 8, 8, 8, 16]);
  });

  it('places an option tag before the aligned payload', () => {
    const { plans } = message(
      'T',
      struct([field('a', option(u16)), field('b', option(u64)), field('c', option(text))]),
    );
    expect(plans[0]!.steps.map(({ tagAt, at }) => [tagAt, at])).toEqual([
      [0, 2],
      [8, 16],
      [24, 28],
    ]);
  });

  it('throws for types that no published message uses', () => {
    const two = { name: 'x', fields: [] };
    expect(() => message('T', struct([field('a', option(option(text)))]))).toThrow(/a: an option of an option/);
    expect(() => message('T', struct([field('a', option(struct([])))]))).toThrow(/a: an option must contain/);
    const inner = { kind: 'enum', tag: 'k', variants: [two, two] } as const;
    expect(() => message('T', struct([field('a', inner)]))).toThrow(/only be a root/);
  });

  it('omits a flattened struct from the paths of its fields', () => {
    const fields = [field('a', text), field('b', u64)];
    const paths = [true, false].map((isFlattened) => {
      const { plans } = message('T', struct([field('inner', struct(fields, { isFlattened }))]));
      return plans[0]!.steps[0]!.plan!.steps.map(({ path }) => path);
    });
    expect(paths).toEqual([
      ['a', 'b'],
      ['inner.a', 'inner.b'],
    ]);
  });

  it('computes the fields of a slice element from the start of the element', () => {
    const element = struct([field('a', text), field('b', u64)]);
    const { plans } = message('T', struct([field('before', u64), field('list', slice(element))]));
    expect(plans[0]!.steps[1]!.plan!.steps.map((step) => step.at)).toEqual([0, 8]);
  });
});
