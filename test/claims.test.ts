import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { claimsToWire } from '../src/claims.ts';
import { InvalidArgumentError } from '../src/errors.ts';
import type { Json } from '../src/types.ts';
import printed from './claims.golden.json' with { type: 'json' };

const print = (value: unknown) => claimsToWire({ claim: value as Json })[1];

function refusal(value: unknown): InvalidArgumentError {
  try {
    claimsToWire({ foo: value as Json });
  } catch (error) {
    if (error instanceof InvalidArgumentError) return error;
    throw error;
  }
  throw new Error('the claim was not refused');
}

function nested(levels: number): Json {
  let value: Json = [];
  for (let i = 1; i < levels; i++) value = i % 2 ? { a: value } : [value];
  return value;
}

describe('claimsToWire', () => {
  // Pairs of the bits of a double and its text as printed by serde_json 1.0.154.
  it.each(printed.floats)('prints the double 0x%s as %s', (bits, text) => {
    const view = new DataView(new ArrayBuffer(8));
    view.setBigUint64(0, BigInt(`0x${bits}`));
    expect(print(view.getFloat64(0))).toBe(text);
  });

  // Texts and their form after serde_json 1.0.154 has read and printed them, as far as JavaScript can express them.
  it.each(printed.texts)('prints %s as %s', (source, text) => {
    expect(print(JSON.parse(source))).toBe(text);
  });

  it.each([
    [2 ** 53, '9007199254740992'],
    [2 ** 63, '9223372036854775808'],
    [-(2 ** 63), '-9223372036854775808'],
    [2 ** 64, '1.8446744073709552e+19'],
    [18_446_744_073_709_551_615n, '18446744073709551615'],
    [18_446_744_073_709_551_616n, '1.8446744073709552e+19'],
    [-9_223_372_036_854_775_808n, '-9223372036854775808'],
    [-9_223_372_036_854_775_809n, '-9.223372036854776e+18'],
    [9_007_199_254_740_993n, '9007199254740993'],
    [0n, '0'],
    [-0, '-0.0'],
    [0, '0'],
    [1, '1'],
  ])('prints the integer %s as %s', (value, text) => {
    expect(print(value)).toBe(text);
  });

  it('prints the text of JSON.stringify for plain numbers and sorted keys', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(print(text)).toBe(JSON.stringify(text));
        expect(print([text, null, true, { a: text }])).toBe(JSON.stringify([text, null, true, { a: text }]));
      }),
    );
  });
});

describe('the order of keys', () => {
  it('is that of their UTF-8 bytes at every level', () => {
    const keys = ['b', '\u{1f600}', '9', '10', '\uff5e', 'a', '', 'aa', '\ud7ff', '\ue000', '__proto__'];
    const bytewise = [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    const object = Object.fromEntries(keys.map((key) => [key, 1]));
    const flat = claimsToWire({ ...object, nested: object });
    expect(flat.filter((_, i) => i % 2 === 0)).toEqual(
      [...bytewise, 'nested'].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))),
    );
    expect(flat[flat.indexOf('nested') + 1]).toBe(`{${bytewise.map((key) => `${JSON.stringify(key)}:1`).join(',')}}`);
  });

  it('equals a sort by bytes for random keys', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.string({ unit: 'binary' })), (keys) => {
        const claims = Object.fromEntries(keys.map((key) => [key, 1] as const));
        expect(claimsToWire(claims).filter((_, i) => i % 2 === 0)).toEqual(
          [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))),
        );
      }),
    );
  });
});

describe('rejection of claims', () => {
  class Claim {}
  const cyclic: { list: unknown[] } = { list: [] };
  cyclic.list.push(1, cyclic);

  it.each([
    ['undefined', undefined, '.foo'],
    ['a function', () => 1, '.foo'],
    ['a symbol', Symbol('x'), '.foo'],
    ['NaN', Number.NaN, '.foo'],
    ['Infinity in a list', [1, 2, Number.POSITIVE_INFINITY], '.foo[2]'],
    ['a hole', new Array(1), '.foo[0]'],
    ['undefined in an object', { bar: { baz: undefined } }, '.foo.bar.baz'],
    ['a key that is not an identifier', { 'a-b': [undefined] }, '.foo["a-b"][0]'],
    ['a lone surrogate', 'a\ud800', '.foo'],
    ['a lone surrogate in a key', { bar: { '\udc00': 1 } }, '.foo.bar'],
    ['a Date', new Date(0), '.foo'],
    ['a Map', { bar: new Map() }, '.foo.bar'],
    ['an instance', new Claim(), '.foo'],
    ['a typed array', new Uint8Array(1), '.foo'],
    ['toJSON', { toJSON: () => 1 }, '.foo.toJSON'],
    ['a cycle', cyclic, '.foo.list[1]'],
    ['an integer beyond the range of a double', 10n ** 400n, '.foo'],
  ])('reports the path of %s', (_, value, path) => {
    expect(refusal(value).path).toBe(`principal.claims${path}`);
  });

  it.each([[null], [undefined], [[]], ['x'], [1], [new Map()]])('rejects %o as claims', (claims) => {
    expect(() => claimsToWire(claims as never)).toThrow(
      expect.objectContaining({ code: 'CC_LB_INVALID_ARGUMENT', path: 'principal.claims' }),
    );
  });

  it('rejects a lone surrogate in the key of a claim', () => {
    expect(() => claimsToWire({ '\ud800': 1 })).toThrow(InvalidArgumentError);
  });

  it('accepts 127 levels and rejects more', () => {
    expect(print(nested(127))).toHaveLength(JSON.stringify(nested(127)).length);
    expect(refusal(nested(128)).message).toContain('127');
    expect(refusal(nested(100_000)).message).toContain('127');
  });

  it('accepts one object at two paths', () => {
    const shared = { a: 1 };
    expect(print([shared, shared])).toBe('[{"a":1},{"a":1}]');
  });

  it('accepts objects of another realm and objects without a prototype', async () => {
    const { runInNewContext } = await import('node:vm');
    expect(print(runInNewContext('({a: [1]})'))).toBe('{"a":[1]}');
    expect(print(Object.assign(Object.create(null), { a: 1 }))).toBe('{"a":1}');
  });
});
