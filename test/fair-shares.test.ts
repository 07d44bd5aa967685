import { expect, it } from 'vitest';
import { FairShares } from '../src/fair-shares.ts';

const takes = (shares: FairShares, principal: string) => {
  let taken = 0;
  while (shares.take(principal, 10)) taken++;
  return taken;
};

it('gives one principal half, and leaves a part of the rest to a second one', () => {
  const shares = new FairShares(100);
  expect(takes(shares, 'a')).toBe(5);
  expect(takes(shares, 'b')).toBe(3);
  expect(takes(shares, 'a')).toBe(0);
});

it('gives what was released to others', () => {
  const shares = new FairShares(100);
  for (let left = takes(shares, 'a'); left > 0; left--) shares.release('a', 10);
  expect(takes(shares, 'b')).toBe(5);
});

it('counts what a principal holds after concurrent amounts of 0', () => {
  const shares = new FairShares(100);
  for (let at = 0; at < 2; at++) expect(shares.take('a', 0)).toBe(true);
  for (let at = 0; at < 2; at++) shares.release('a', 0);
  expect(takes(shares, 'a')).toBe(5);
});
