import { expect, it } from 'vitest';
import { FairBudget } from '../src/fair-budget.ts';

const takes = (budget: FairBudget, principal: string) => {
  let taken = 0;
  while (budget.take(principal, 10, 100)) taken++;
  return taken;
};

it('gives one principal half, and leaves a part of the rest to a second one', () => {
  const budget = new FairBudget();
  expect(takes(budget, 'a')).toBe(5);
  expect(takes(budget, 'b')).toBe(3);
  expect(takes(budget, 'a')).toBe(0);
});

it('gives what was released to others', () => {
  const budget = new FairBudget();
  for (let left = takes(budget, 'a'); left > 0; left--) budget.release('a', 10);
  expect(takes(budget, 'b')).toBe(5);
});

it('counts what a principal holds after concurrent amounts of 0', () => {
  const budget = new FairBudget();
  for (let at = 0; at < 2; at++) expect(budget.take('a', 0, 100)).toBe(true);
  for (let at = 0; at < 2; at++) budget.release('a', 0);
  expect(takes(budget, 'a')).toBe(5);
});
