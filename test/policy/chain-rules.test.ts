import { describe, expect, it } from 'vitest';
import { isEventType, isFinalStatus, isForwardedMethod, namesCandidatesOnce } from '../../src/policy/chain-rules.ts';

describe('namesCandidatesOnce', () => {
  const verdict = (kept: string[], rejected: string[]) => ({
    keptUpstreamIds: kept,
    reason: '',
    perCandidateReasons: rejected.map((upstreamId) => ({ upstreamId, reason: 'unhealthy' as const, text: '' })),
  });

  it.each([
    [[], []],
    [['a'], ['b']],
    [['b', 'a'], []],
    [['c'], ['b', 'a']],
  ])('allows %j kept and %j rejected, in any order', (kept, rejected) => {
    expect(namesCandidatesOnce(verdict(kept, rejected), ['a', 'b', 'c'])).toBe(true);
  });

  it.each([
    [['a', 'a'], []],
    [['a'], ['a']],
    [[], ['b', 'b']],
    [['d'], []],
    [['a'], ['d']],
  ])('rejects %j kept and %j rejected', (kept, rejected) => {
    expect(namesCandidatesOnce(verdict(kept, rejected), ['a', 'b', 'c'])).toBe(false);
  });
});

it('isForwardedMethod rejects tunnels and traces, and HEAD for another method', () => {
  for (const method of ['CONNECT', 'trace', 'Track']) expect(isForwardedMethod(method, method)).toBe(false);
  for (const method of ['POST', 'GET', 'purge', 'CONNECTED']) expect(isForwardedMethod(method, 'POST')).toBe(true);
  expect(isForwardedMethod('head', 'HEAD')).toBe(true);
  expect(isForwardedMethod('HEAD', 'GET')).toBe(false);
});

it('isFinalStatus rejects informational statuses', () => {
  expect([100, 199].some(isFinalStatus)).toBe(false);
  expect([200, 304, 999].every(isFinalStatus)).toBe(true);
});

it('isEventType rejects a type with a line break', () => {
  expect(['a', '', 'a b', 'é'].every(isEventType)).toBe(true);
  expect(['a\n', '\r', 'a\ndata: b'].some(isEventType)).toBe(false);
});
