import { describe, expect, it } from 'vitest';
import type { Plan, Step } from '../../../src/wire/rkyv.ts';
import { ROOTS } from '../fuzz/roots.ts';

function plansUnder(plan: Plan): Plan[] {
  return [plan, ...plan.steps.flatMap((step) => (step.plan === null ? [] : plansUnder(step.plan)))];
}

const nameOf = (step: Step): string => step.name;

describe.each(ROOTS)('$wire/$message.name', ({ message }) => {
  const plans = message.plans.flatMap(plansUnder);

  it('encodes its fields in wire order', () => {
    for (const plan of plans) {
      const names = plan.steps.map(nameOf);
      expect(plan.read(Object.fromEntries(names.map((name) => [name, name])))).toEqual(names);
    }
  });

  it('decodes to a value with every field by its name', () => {
    for (const plan of plans) {
      const names = plan.steps.map(nameOf);
      expect(plan.make(names)).toMatchObject(Object.fromEntries(names.map((name) => [name, name])));
    }
  });
});
