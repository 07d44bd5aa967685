import { describe, expect, it } from 'vitest';
import {
  FilterError,
  GuestTrapError,
  InvalidArgumentError,
  PluginUnavailableError,
  PoolSaturatedError,
  type WasmtimeRuntimeError,
} from '../../src/errors.ts';
import { noUpstreamLeft, outcomeToHttp, pluginFailed } from '../../src/policy/unavailable.ts';
import { thrown } from '../support/errors.ts';

const because = (cause: unknown) => new FilterError('runtime', 'x', { cause });

describe('pluginFailed', () => {
  it.each<[string, WasmtimeRuntimeError, number]>([
    ['saturation', new PoolSaturatedError('queue'), 1],
    ['saturation as a cause', because(because(new PoolSaturatedError('queue'))), 1],
    ['an open breaker', because(new PluginUnavailableError('breaker-open', 'x', 2_001)), 3],
    ['a breaker that is tried soon', because(new PluginUnavailableError('breaker-open', 'x', 1)), 1],
  ])('has the time to wait after %s', (_, error, retryAfterSeconds) => {
    const expected = { kind: 'unavailable', code: 'plugin_failed', status: 503, retryAfterSeconds, error };
    expect(pluginFailed(error)).toEqual(expected);
  });

  it.each<[string, WasmtimeRuntimeError]>([
    ['a trap', because(new GuestTrapError('cc_lb_filter', 'interrupt', 'x'))],
    ['a request that never fits', because(new PoolSaturatedError('staging', {}, 'the request is too large'))],
    ['a disabled plugin', because(new PluginUnavailableError('disabled', 'x', null))],
  ])('has no time to wait after %s', (_, error) => {
    expect(pluginFailed(error)).toEqual({ kind: 'unavailable', code: 'plugin_failed', status: 503, error });
  });

  it('accepts an error that is its own cause', () => {
    const error = new FilterError('runtime', 'x');
    error.cause = error;
    expect(pluginFailed(error).retryAfterSeconds).toBeUndefined();
  });
});

describe('outcomeToHttp', () => {
  it('writes the code and the time to wait, and nothing about the plugin', () => {
    const { status, headers, body } = outcomeToHttp(pluginFailed(because(new PoolSaturatedError('queue'))));
    expect([status, headers]).toEqual([503, { 'content-type': 'application/json', 'retry-after': '1' }]);
    const message = { type: 'api_error', code: 'plugin_failed', message: 'a plugin failed' };
    expect(JSON.parse(body)).toEqual({ type: 'error', error: message });
  });

  it('has no time to wait if no upstream is left', () => {
    expect(outcomeToHttp(noUpstreamLeft()).headers).toEqual({ 'content-type': 'application/json' });
  });

  it.each([undefined, null, { kind: 'candidates', candidates: [] }])('rejects %o', (outcome) => {
    expect(thrown(InvalidArgumentError, () => outcomeToHttp(outcome as never)).path).toBe('outcome');
  });
});
