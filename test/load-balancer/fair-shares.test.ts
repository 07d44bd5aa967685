import { describe, expect, it } from 'vitest';
import { FairShares, Holding } from '../../examples/load-balancer/fair-shares.ts';

describe('FairShares', () => {
  it('give a principal at most as much as is unused', () => {
    const shares = new FairShares(9);
    for (let i = 0; i < 5; i++) expect(shares.take('one', 1)).toBe(true);
    expect(shares.take('one', 1)).toBe(false);
    expect(shares.take('other', 2)).toBe(true);
    expect(shares.take('other', 1)).toBe(false);
    expect(shares.take('third', 1)).toBe(true);
    shares.release('one', 5);
    expect(shares.take('other', 1)).toBe(true);
  });

  it('have nothing in use after everything was released', () => {
    const shares = new FairShares(2);
    for (let i = 0; i < 10; i++) {
      expect(shares.take('one', 2)).toBe(true);
      shares.release('one', 2);
    }
  });
});

describe('a holding', () => {
  it('releases what it holds, once', () => {
    const shares = new FairShares(4);
    const holding = new Holding(shares, 'one');
    expect(holding.take(3)).toBe(true);
    expect(holding.take(3)).toBe(false);
    holding.release(2);
    holding.releaseAll();
    holding.releaseAll();
    holding.release(2);
    expect(holding.take(1)).toBe(false);
    expect(shares.take('one', 4)).toBe(true);
    expect(shares.take('other', 1)).toBe(false);
  });
});
