import { describe, expect, it } from 'vitest';
import { Breaker, breakerSchema } from '../../src/isolation/breaker.ts';

/** Creates a breaker with a clock that the test advances. */
function breaker(options: object = {}) {
  const sequence = { value: 0 };
  const changes: string[] = [];
  const clock = { now: 1_000 };
  const made = new Breaker(
    breakerSchema.parse(options),
    sequence,
    () => clock.now,
    (state, cause) => changes.push(`${state} ${cause}`),
  );
  return {
    clock,
    changes,
    sequence,
    breaker: made,
    /** Makes a call; returns the milliseconds to wait, or 0 after a call that ended with `ok`. */
    call(ok: boolean, seconds = 0): number {
      const wait = made.enter();
      if (wait > 0) return wait;
      if (ok) made.succeed(sequence.value, seconds);
      else made.fail(sequence.value, seconds);
      return 0;
    },
  };
}

describe('a closed breaker', () => {
  it('opens on consecutive failures, which one success interrupts', () => {
    const { call, breaker: made, changes } = breaker({ consecutiveFailures: 3 });
    for (const ok of [false, false, true, false, false]) expect(call(ok)).toBe(0);
    expect(made.state).toBe('closed');
    call(false);
    expect(made.state).toBe('open');
    expect(changes).toEqual(['open consecutive-failures']);
    expect(call(true)).toBe(1_000);
  });

  it('opens on a share of failures once the window has the minimum of calls', () => {
    const { call, changes } = breaker({ consecutiveFailures: 100, failureRatio: 0.5, minimumCalls: 6 });
    for (const ok of [false, true, false, true, false]) call(ok);
    expect(changes).toEqual([]);
    call(false);
    expect(changes).toEqual(['open failure-ratio']);
  });

  it('does not count failures of an earlier window', () => {
    const { call, clock, changes } = breaker({ consecutiveFailures: 100, minimumCalls: 4, windowMs: 100 });
    for (let round = 0; round < 10; round++) {
      call(true);
      call(false);
      clock.now += 101;
    }
    expect(changes).toEqual([]);
  });

  it('opens on its share of guest time within a window, and not when that time is spread over more windows', () => {
    const slow = breaker({ guestTimeShare: 0.5, windowMs: 1_000 });
    for (let at = 0; at < 20; at++) {
      slow.clock.now += 100;
      slow.call(true, 0.04);
    }
    expect(slow.changes).toEqual([]);
    const greedy = breaker({ guestTimeShare: 0.5, windowMs: 1_000 });
    for (let at = 0; at < 20 && greedy.changes.length === 0; at++) {
      greedy.clock.now += 100;
      greedy.call(true, 0.07);
    }
    expect(greedy.changes).toEqual(['open guest-time']);
  });
});

describe('an open breaker', () => {
  it('lets one trial through after its back-off, and closes when it succeeds', () => {
    const { call, clock, breaker: made, changes } = breaker({ consecutiveFailures: 1, openMs: 50 });
    call(false);
    clock.now += 49;
    expect(made.enter()).toBe(1);
    clock.now += 1;
    expect(made.enter()).toBe(0);
    expect(made.state).toBe('half-open');
    expect(made.enter()).toBeGreaterThan(0);
    made.succeed(2, 0);
    expect(made.state).toBe('closed');
    expect(call(true)).toBe(0);
    expect(changes).toEqual(['open consecutive-failures', 'half-open back-off-elapsed', 'closed trials-succeeded']);
  });

  it('doubles its back-off with each failed trial, up to a maximum', () => {
    const { call, clock } = breaker({ consecutiveFailures: 1, openMs: 10, maxOpenMs: 30 });
    call(false);
    const waits = [];
    for (let trial = 0; trial < 4; trial++) {
      const wait = call(false);
      waits.push(wait);
      clock.now += wait;
      expect(call(false)).toBe(0);
    }
    expect(waits).toEqual([10, 20, 30, 30]);
  });

  it('continues its back-off when it fails again soon after it closed, and restarts it later', () => {
    const { call, clock } = breaker({ consecutiveFailures: 1, openMs: 10, windowMs: 100 });
    call(false);
    clock.now += 10;
    call(true);
    call(false);
    expect(call(false)).toBe(20);
    clock.now += 20;
    call(true);
    clock.now += 101;
    call(false);
    expect(call(false)).toBe(10);
  });

  it('closes after as many successful trials as configured, one at a time', () => {
    const { call, clock, breaker: made } = breaker({ consecutiveFailures: 1, openMs: 10, halfOpenTrials: 3 });
    call(false);
    clock.now += 10;
    for (let trial = 0; trial < 3; trial++) {
      expect(made.state).toBe(trial === 0 ? 'open' : 'half-open');
      expect(call(true)).toBe(0);
    }
    expect(made.state).toBe('closed');
  });

  it('does not count calls that started before it opened', () => {
    const { sequence, breaker: made, clock } = breaker({ consecutiveFailures: 1, openMs: 10 });
    const early = sequence.value;
    made.fail(early, 0);
    made.succeed(early, 0);
    expect(made.state).toBe('open');
    clock.now += 10;
    expect(made.enter()).toBe(0);
    made.succeed(early, 0);
    made.fail(early, 0);
    expect(made.state).toBe('half-open');
  });

  it('starts another trial after one that was canceled or whose outcome was never reported', () => {
    const { sequence, breaker: made, clock } = breaker({ consecutiveFailures: 1, openMs: 10 });
    made.fail(0, 0);
    clock.now += 10;
    expect(made.enter()).toBe(0);
    made.cancel(sequence.value, 0);
    expect(made.enter()).toBe(0);
    expect(made.enter()).toBe(10);
    clock.now += 10;
    expect(made.enter()).toBe(0);
  });

  it('waits before the next trial after one that was canceled in the guest', () => {
    const { sequence, breaker: made, clock } = breaker({ consecutiveFailures: 1, openMs: 10 });
    made.fail(0, 0);
    clock.now += 10;
    expect(made.enter()).toBe(0);
    made.cancel(sequence.value, 0.005);
    expect(made.enter()).toBe(10);
  });

  it('opens when canceled calls use too much guest time', () => {
    const { breaker: made } = breaker({ guestTimeShare: 0.5, windowMs: 1_000 });
    made.cancel(0, 0.4);
    expect(made.state).toBe('closed');
    made.cancel(0, 0.2);
    expect(made.state).toBe('open');
  });
});

describe('the thresholds of a breaker', () => {
  it.each([
    [{ enabled: 1 }, 'enabled'],
    [{ consecutiveFailures: 0 }, 'consecutiveFailures'],
    [{ consecutiveFailures: 1.5 }, 'consecutiveFailures'],
    [{ failureRatio: 0.009 }, 'failureRatio'],
    [{ failureRatio: 1.01 }, 'failureRatio'],
    [{ minimumCalls: 0 }, 'minimumCalls'],
    [{ guestTimeShare: 0.0009 }, 'guestTimeShare'],
    [{ guestTimeShare: Number.NaN }, 'guestTimeShare'],
    [{ windowMs: 0 }, 'windowMs'],
    [{ windowMs: 86_400_001 }, 'windowMs'],
    [{ openMs: 0 }, 'openMs'],
    [{ openMs: 10, maxOpenMs: 9 }, 'maxOpenMs'],
    [{ halfOpenTrials: 0 }, 'halfOpenTrials'],
    [{ openPrincipals: 1 }, 'openPrincipals'],
    [{ openPrincipals: 20, maxPrincipals: 19 }, 'maxPrincipals'],
    [{ maxPrincipals: 100_001 }, 'maxPrincipals'],
  ])('are rejected out of range: %o', (options, field) => {
    const { error } = breakerSchema.safeParse(options);
    expect(error?.issues[0]?.path).toEqual([field]);
  });

  it('are rejected when unknown', () => {
    expect(breakerSchema.safeParse({ consecutive: 3 }).success).toBe(false);
  });
});
