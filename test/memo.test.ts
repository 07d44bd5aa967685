import { expect, it } from 'vitest';
import { Memo } from '../src/memo.ts';

it('Memo returns set entries, and undefined for others', () => {
  const memo = new Memo<string, number>(4);
  memo.set('a', 1);
  memo.set('a', 2);
  expect([memo.get('a'), memo.get('b')]).toEqual([2, undefined]);
});

it('Memo drops unused entries before it exceeds its limit', () => {
  const memo = new Memo<number, number>(10);
  for (let key = 0; key < 1_000; key++) memo.set(key, key);
  const held = Array.from({ length: 1_000 }, (_, key) => key).filter((key) => memo.get(key) !== undefined);
  expect(held.length).toBeGreaterThanOrEqual(1);
  expect(held.length).toBeLessThanOrEqual(10);
  expect(held).toContain(999);
});

it('Memo keeps an entry that is used in every generation', () => {
  const memo = new Memo<number, string>(10);
  memo.set(-1, 'used');
  for (let key = 0; key < 1_000; key++) {
    memo.set(key, 'unused');
    expect(memo.get(-1)).toBe('used');
  }
  expect(memo.get(0)).toBeUndefined();
});

it('Memo counts the weight of entries, and drops others for a heavy one', () => {
  const memo = new Memo<string, number>(100);
  memo.set('light', 1, 10);
  memo.set('heavy', 2, 45);
  memo.set('next', 3, 45);
  expect([memo.get('next'), memo.get('light')]).toEqual([3, undefined]);
});

it('counts the weight of entries that are used again, so that their sum is bounded too', () => {
  const memo = new Memo<number, number>(100);
  for (let round = 0; round < 50; round++) {
    for (let key = 0; key < 40; key++) if (memo.get(key) === undefined) memo.set(key, key, 10);
  }
  const held = Array.from({ length: 40 }, (_, key) => key).filter((key) => memo.get(key) !== undefined);
  expect(held.length).toBeLessThanOrEqual(10);
});

it('takes the weight of an entry that is replaced for the one that it had', () => {
  const memo = new Memo<string, number>(100);
  memo.set('other', 0, 10);
  for (let value = 0; value < 1_000; value++) memo.set('replaced', value, 20);
  expect([memo.get('replaced'), memo.get('other')]).toEqual([999, 0]);
  memo.set('replaced', 1_000, 45);
  expect([memo.get('replaced'), memo.get('other')]).toEqual([1_000, 0]);
});
