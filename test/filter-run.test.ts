import fc from 'fast-check';
import { expect, it } from 'vitest';
import { FilterError } from '../src/errors.ts';
import { FilterRun, type FilterStage } from '../src/filter-run.ts';
import { thrown } from './support/errors.ts';
import { candidates, upstreamId } from './support/samples.ts';

const stage = { pluginName: 'test', failurePolicy: 'pass-through' } as FilterStage;
const four = candidates(4);

it('FilterRun keeps what a verdict keeps, in any order, and rejects repeated and unknown ids', () => {
  // The fifth is not a candidate.
  const ids = fc.array(fc.integer({ min: 1, max: 5 }).map(upstreamId), { maxLength: 4 });
  fc.assert(
    fc.property(ids, ids, (kept, rejected) => {
      const run = new FilterRun(four);
      const perCandidateReasons = rejected.map((id) => ({ upstreamId: id, reason: 'unhealthy' as const, text: '' }));
      const take = () => run.take(stage, { keptUpstreamIds: kept, reason: '', perCandidateReasons });
      const named = [...kept, ...rejected];
      const wrong = named.find((id, index) => named.indexOf(id) < index || id === upstreamId(5));
      if (wrong === undefined) {
        take();
        expect(run.survivors).toEqual(four.filter((candidate) => kept.includes(candidate.upstreamId)));
      } else {
        const problem = wrong === upstreamId(5) ? ', which is not one of the candidates' : ' more than once';
        expect(thrown(FilterError, take).message).toBe(`the answer names upstream ${wrong}${problem}`);
        expect(run.survivors).toEqual(four);
      }
    }),
    { numRuns: 2_000 },
  );
});
