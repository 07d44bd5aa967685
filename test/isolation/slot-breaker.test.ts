import { describe, expect, it } from 'vitest';
import { breakerSchema } from '../../src/isolation/breaker.ts';
import { type CallVerdict, SlotBreaker } from '../../src/isolation/slot-breaker.ts';

function slotBreaker(perPrincipal: boolean, options: object = {}) {
  const clock = { now: 0 };
  const changes: string[] = [];
  const breaker = new SlotBreaker(
    breakerSchema.parse({ consecutiveFailures: 2, openMs: 100, ...options }),
    perPrincipal,
    ({ state, cause, principal }) => changes.push(`${principal} ${state} ${cause}`),
    () => clock.now,
  );
  return {
    clock,
    changes,
    breaker,
    /** Makes a call of a principal; returns the milliseconds to wait, or 0 after a call that ended with `verdict`. */
    call(principal: string, verdict: CallVerdict, seconds = 0): number {
      const wait = breaker.enter(principal);
      if (wait === 0) breaker.exit(breaker.began, principal, verdict, seconds);
      return wait;
    },
  };
}

describe('the breaker of a slot that one principal owns', () => {
  it('counts all calls together', () => {
    const { call, breaker, changes } = slotBreaker(false);
    call('a', 'failure');
    call('b', 'failure');
    expect(breaker.state).toBe('open');
    expect(changes).toEqual(['null open consecutive-failures']);
    expect(call('c', 'success')).toBe(100);
  });
});

describe('the breaker of a global slot', () => {
  it('opens only for the principal whose calls fail', () => {
    const { call, breaker, changes } = slotBreaker(true);
    for (let at = 0; at < 10; at++) {
      call('hostile', 'failure');
      expect(call('other', 'success')).toBe(0);
    }
    expect(call('hostile', 'success')).toBeGreaterThan(0);
    expect(breaker.state).toBe('closed');
    expect(breaker.openPrincipals).toBe(1);
    expect(changes).toEqual(['hostile open consecutive-failures']);
  });

  it('opens for all when several principals fail within a window, and closes after one successful trial of any principal', () => {
    const { call, breaker, clock } = slotBreaker(true, { openPrincipals: 3 });
    for (const principal of ['a', 'b', 'c']) {
      expect(breaker.state).toBe('closed');
      for (let at = 0; at < 2; at++) call(principal, 'failure');
    }
    expect(breaker.state).toBe('open');
    expect(call('d', 'success')).toBe(100);
    clock.now += 100;
    expect(call('d', 'success')).toBe(0);
    expect(breaker.state).toBe('closed');
  });

  it('does not count principals that failed in different windows together', () => {
    const { call, breaker, clock } = slotBreaker(true, { openPrincipals: 2, windowMs: 1_000 });
    for (const principal of ['a', 'b', 'c']) {
      for (let at = 0; at < 2; at++) call(principal, 'failure');
      clock.now += 1_001;
    }
    expect(breaker.state).toBe('closed');
  });

  it('rejects calls of all during the trial of one principal, whose own breaker can start its trial immediately after', () => {
    const { call, breaker, clock } = slotBreaker(true, { openPrincipals: 2 });
    for (const principal of ['a', 'a', 'b', 'b']) call(principal, 'failure');
    clock.now += 100;
    call('c', 'failure');
    expect(breaker.state).toBe('open');
    // The slot-wide breaker rejects the trial of `a`, so it does not use up the trial of its own breaker.
    expect(call('a', 'success')).toBe(200);
    clock.now += 200;
    expect(call('a', 'success')).toBe(0);
    expect(breaker.state).toBe('closed');
    expect(breaker.openPrincipals).toBe(1);
  });

  it('counts guest time by principal', () => {
    const { call, breaker } = slotBreaker(true, { guestTimeShare: 0.5, windowMs: 1_000 });
    for (let at = 0; at < 10; at++) {
      call('greedy', 'success', 0.1);
      call('modest', 'success', 0.01);
    }
    expect(call('greedy', 'success')).toBeGreaterThan(0);
    expect(call('modest', 'success')).toBe(0);
    expect(breaker.openPrincipals).toBe(1);
  });

  it('counts a bounded number of principals, and evicts those with a closed breaker first', () => {
    const { call, breaker } = slotBreaker(true, { openPrincipals: 2, maxPrincipals: 2, windowMs: 1 });
    for (let at = 0; at < 2; at++) call('open', 'failure');
    for (let at = 0; at < 1_000; at++) call(`p${at}`, 'failure');
    expect(breaker.openPrincipals).toBe(1);
    expect(call('open', 'success')).toBeGreaterThan(0);
  });
});

describe('a call without a verdict', () => {
  it('does not change the state, and the next call is the trial', () => {
    const { call, breaker, clock } = slotBreaker(false);
    for (let at = 0; at < 5; at++) call('a', 'none');
    expect(breaker.state).toBe('closed');
    for (let at = 0; at < 2; at++) call('a', 'failure');
    clock.now += 100;
    call('a', 'none');
    expect(breaker.state).toBe('half-open');
    expect(call('a', 'success')).toBe(0);
    expect(breaker.state).toBe('closed');
  });
});
