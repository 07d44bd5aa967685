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

describe('isPluginFailure', () => {
  it.each([
    new FilterError('trap', 'x'),
    new DialectError('unsupported-request', 'x'),
    new PoolSaturatedError('stores'),
    new SlotNotFoundError('x'),
    new StackExhaustedError('x'),
    // An error of another copy of the package has the same code.
    Object.assign(new Error('x'), { code: 'CC_LB_FILTER' }),
  ])('returns true for %o', (error) => {
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
  ])('returns false for %o', (error) => {
    expect(isPluginFailure(error)).toBe(false);
  });
});

describe('unavailableResponse', () => {
  it('returns retryAfterSeconds when saturation is a cause at any depth', () => {
    const saturated = new PoolSaturatedError('queue');
    expect(unavailableResponse(saturated)).toEqual({ status: 503, retryAfterSeconds: 1 });
    expect(unavailableResponse(new FilterError('runtime', 'x', { cause: saturated }))).toEqual({
      status: 503,
      retryAfterSeconds: 1,
    });
  });

  it('returns no retryAfterSeconds for other causes', () => {
    const trap = new GuestTrapError('cc_lb_filter', 'interrupt', 'x');
    expect(unavailableResponse(new FilterError('trap', 'x', { cause: trap }))).toEqual({ status: 503 });
    expect(unavailableResponse()).toEqual({ status: 503 });
    const neverFits = new PoolSaturatedError('staging', {}, 'the request is too large');
    expect(unavailableResponse(new FilterError('runtime', 'x', { cause: neverFits }))).toEqual({ status: 503 });
  });

  it('accepts an error that is its own cause', () => {
    const error = new Error('x');
    error.cause = error;
    expect(unavailableResponse(error)).toEqual({ status: 503 });
  });
});
