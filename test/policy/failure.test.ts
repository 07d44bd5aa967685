import { describe, expect, it } from 'vitest';
import {
  ClosedError,
  DialectError,
  FilterError,
  GuestTrapError,
  InvalidArgumentError,
  PoolSaturatedError,
  SlotNotFoundError,
  StackExhaustedError,
} from '../../src/errors.ts';
import { isPluginFailure, unavailableResponse } from '../../src/policy/failure.ts';

describe('what a failure policy may absorb', () => {
  it.each([
    new FilterError('trap', 'x'),
    new DialectError('x'),
    new PoolSaturatedError('stores'),
    new SlotNotFoundError('x'),
    new StackExhaustedError('x'),
    // An error of another copy of the package.
    Object.assign(new Error('x'), { code: 'CC_LB_FILTER' }),
  ])('%o is a plugin failure', (error) => {
    expect(isPluginFailure(error)).toBe(true);
  });

  it.each([
    new InvalidArgumentError('ctx.method', 'x'),
    new ClosedError(),
    new TypeError('x'),
    Object.assign(new Error('x'), { code: 'ECONNRESET' }),
    new DOMException('x', 'AbortError'),
    { code: 'CC_LB_FILTER' },
    'CC_LB_FILTER',
    undefined,
    null,
  ])('%o is none', (error) => {
    expect(isPluginFailure(error)).toBe(false);
  });
});

describe('the answer to a stopped request', () => {
  it('names a wait where saturation is the cause, however deep', () => {
    const saturated = new PoolSaturatedError('queue');
    expect(unavailableResponse(saturated)).toEqual({ status: 503, retryAfterSeconds: 1 });
    expect(unavailableResponse(new FilterError('runtime', 'x', { cause: saturated }))).toEqual({
      status: 503,
      retryAfterSeconds: 1,
    });
  });

  it('names none otherwise', () => {
    const trap = new GuestTrapError('cc_lb_filter', 'interrupt', 'x');
    expect(unavailableResponse(new FilterError('trap', 'x', { cause: trap }))).toEqual({ status: 503 });
    expect(unavailableResponse()).toEqual({ status: 503 });
    const neverFits = new PoolSaturatedError('staging', {}, 'the request is too large');
    expect(unavailableResponse(new FilterError('runtime', 'x', { cause: neverFits }))).toEqual({ status: 503 });
  });

  it('survives an error that causes itself', () => {
    const error = new Error('x');
    error.cause = error;
    expect(unavailableResponse(error)).toEqual({ status: 503 });
  });
});
