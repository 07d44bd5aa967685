import { describe, expect, it } from 'vitest';
import {
  ClosedError,
  DialectError,
  FilterError,
  InvalidArgumentError,
  PoolSaturatedError,
  SlotNotFoundError,
  StackExhaustedError,
} from '../../src/errors.ts';
import { isPluginFailure } from '../../src/policy/failure.ts';

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
