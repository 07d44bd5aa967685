import { expect, it } from 'vitest';
import { HeapScratch } from '../../src/wire/scratch.ts';

it('grows to the required size, at least twofold, and preserves its contents', () => {
  const scratch = new HeapScratch(4, 2);
  scratch.bytes.set([1, 2, 3, 4]);
  scratch.grow(5);
  expect([...scratch.bytes]).toEqual([1, 2, 3, 4, 0, 0, 0, 0]);
  scratch.grow(100);
  expect([scratch.bytes.length, ...scratch.bytes.subarray(0, 4)]).toEqual([100, 1, 2, 3, 4]);
  expect(scratch.start).toBe(2);
});
