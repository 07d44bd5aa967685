import { describe, expect, it } from 'vitest';
import {
  FilterError,
  GuestTrapError,
  InvalidArgumentError,
  ModuleRejectedError,
  SlotKey,
  WasmtimeFilterPlugin,
  WasmtimeObservabilityHook,
  type WasmtimeRuntime,
} from '../../src/index.ts';
import { rejected, thrown } from '../support/errors.ts';
import { guest, LONGER_THAN_PROBES, misbehavesAfterProbe } from '../support/guest.ts';
import { plugin } from '../support/plugins.ts';
import { isolatedRuntime, newRuntime, recorder, STRATEGIES } from '../support/runtimes.ts';
import { caller, request, started } from '../support/samples.ts';

const key = SlotKey.global('k');
/** A request that is longer than every probe. */
const LARGE = request({ body: Buffer.alloc(LONGER_THAN_PROBES) });

function misbehaving(runtime: WasmtimeRuntime): (behavior: string) => GuestTrapError {
  const filter = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key, 'misbehave', plugin('misbehave')));
  return (behavior) => {
    const error = thrown(FilterError, () =>
      filter.filter(request(), caller({ do: behavior }), [], { deadlineMs: 2000 }),
    );
    expect(error.cause, behavior).toBeInstanceOf(GuestTrapError);
    return error.cause as GuestTrapError;
  };
}

describe.each(STRATEGIES)('traps of a call, $strategy', ({ config }) => {
  it.each([
    ['unreachable', 'unreachable-code-reached'],
    ['an unknown behavior', 'unreachable-code-reached'],
    ['divide-by-zero', 'integer-division-by-zero'],
    ['integer-overflow', 'integer-overflow'],
    ['read-outside', 'memory-out-of-bounds'],
    ['write-outside', 'memory-out-of-bounds'],
    ['overflow-shadow-stack', 'memory-out-of-bounds'],
    ['call-null', 'indirect-call-to-null'],
    ['call-outside-table', 'table-out-of-bounds'],
    ['call-wrong-type', 'bad-signature'],
    ['overflow-stack', 'stack-overflow'],
    ['allocate', 'unreachable-code-reached'],
  ])('map %s to %s', (behavior, trap) => {
    const runtime = newRuntime(config);
    const trapOf = misbehaving(runtime);
    const error = trapOf(behavior);
    expect(error).toMatchObject({ phase: 'cc_lb_filter', trap, plugin: 'misbehave', versionId: 1, hook: 'filter' });
    expect(error).toMatchObject({ principal: '__global__', retryable: false });
    expect(error.message).toMatch(/^guest trap during cc_lb_filter: .+/);
    // The next call succeeds.
    expect(new WasmtimeFilterPlugin(runtime, runtime.getSlot(key)!).filter(request(), caller(), [])).toBeDefined();
  });

  it('name the traps of conversions and tables', () => {
    for (const [behavior, trap] of [
      ['(drop (i32.trunc_f64_s (f64.const nan))) i64.const 0', 'bad-conversion-to-integer'],
      ['(drop (i32.trunc_f64_s (f64.const inf))) i64.const 0', 'integer-overflow'],
      ['(table.set (i32.const 9) (ref.null func)) i64.const 0', 'table-out-of-bounds'],
      ['(memory.fill (i32.const -1) (i32.const 0) (i32.const 2)) i64.const 0', 'memory-out-of-bounds'],
    ]) {
      const bytes = guest({ fields: '(table 1 funcref)', hook: misbehavesAfterProbe(behavior!) });
      const runtime = newRuntime(config);
      const filter = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key, 'n', bytes));
      const error = thrown(FilterError, () => filter.filter(LARGE, caller(), []));
      expect(error.cause).toMatchObject({ phase: 'cc_lb_filter', trap });
    }
  });

  it('have their own phase in alloc and for memory that alloc does not have', () => {
    const small = `(i32.lt_u (local.get 0) (i32.const ${LONGER_THAN_PROBES}))`;
    for (const [behavior, phase, trap] of [
      ['i32.const 0', 'cc_lb_alloc', 'unknown'],
      ['unreachable', 'cc_lb_alloc', 'unreachable-code-reached'],
      ['(loop $l br $l) i32.const 8', 'cc_lb_alloc', 'interrupt'],
      ['i32.const -16', 'memory.write', 'unknown'],
      ['i32.const 131056', 'memory.write', 'unknown'],
    ]) {
      const alloc = `(if (result i32) ${small} (then i32.const 32768) (else ${behavior}))`;
      const runtime = newRuntime(config);
      const filter = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key, 'n', guest({ alloc })));
      const error = thrown(FilterError, () => filter.filter(LARGE, caller(), [], { deadlineMs: 30 }));
      expect(error).toMatchObject({ kind: 'trap', cause: { phase, trap } });
    }
  });
});

describe('calls', () => {
  it('call alloc with the length of the request and alignment 16', () => {
    const alloc = `(if (i32.ne (local.get 1) (i32.const 16)) (then unreachable))
      (i32.store (i32.const 64) (local.get 0)) i32.const 32768`;
    const hook = `(if (i32.ne (local.get 0) (i32.const 32768)) (then unreachable))
      (if (i32.ne (local.get 1) (i32.load (i32.const 64))) (then unreachable)) $answer`;
    const runtime = newRuntime();
    const filter = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key, 'n', guest({ alloc, hook })));
    expect(filter.filter(LARGE, caller(), []).keptUpstreamIds).toEqual([]);
  });

  it('may grow the memory and answer from its new end', () => {
    const runtime = newRuntime();
    const filter = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key, 'm', plugin('misbehave')));
    for (const behavior of [
      'grow:10',
      'grow-to-the-limit',
      'grow-and-answer:3',
      'answer-to-the-end',
      'answer-zeros:8',
    ]) {
      expect(() => filter.filter(request(), caller({ do: behavior }), []), behavior).not.toThrow();
    }
  });

  it.each([
    ['answer-nothing', 'pointer 0 and length 0'],
    ['answer-null-pointer', 'pointer 0 and length 16'],
    ['answer-null-length', 'pointer 1024 and length 0'],
    ['answer-outside', 'out of bounds'],
    ['answer-far-outside', 'out of bounds'],
    ['answer-overflowing', 'out of bounds'],
  ])('are rejected after %s', (behavior, message) => {
    const runtime = newRuntime();
    const filter = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key, 'm', plugin('misbehave')));
    const error = thrown(FilterError, () => filter.filter(request(), caller({ do: behavior }), []));
    expect(error.kind).toBe('runtime');
    expect(error.cause).toBeInstanceOf(ModuleRejectedError);
    expect(error.message).toContain(`cc_lb_filter returned`);
    expect(error.message).toContain(message);
  });

  it('accept a body of 100 MiB', () => {
    const runtime = newRuntime();
    const filter = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key, 'c', plugin('cache-aware')));
    expect(filter.filter(request({ body: Buffer.alloc(100 * 2 ** 20) }), caller(), []).keptUpstreamIds).toEqual([]);
  });
});

describe('a request that is too large', () => {
  it('fails in alloc if it exceeds the memory of the guest', () => {
    const runtime = newRuntime({ memoryMaxPages: 32 });
    const filter = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key, 'c', plugin('cache-aware')));
    expect(() => filter.filter(request({ body: Buffer.alloc(100_000) }), caller(), [])).not.toThrow();
    const error = thrown(FilterError, () => filter.filter(request({ body: Buffer.alloc(3_000_000) }), caller(), []));
    expect(error.kind).toBe('trap');
    expect(error.cause).toMatchObject({ phase: 'cc_lb_alloc', trap: 'unknown' });
    expect(error.message).toContain('cc_lb_alloc returned 0 for 300');
  });

  it('is rejected before the guest is called if it exceeds 32-bit lengths', () => {
    const runtime = newRuntime();
    runtime.registerFilter(key, 'c', plugin('cache-aware'));
    const error = thrown(ModuleRejectedError, () => runtime.callFilter(key, new Uint8Array(2 ** 32)));
    expect(error.reason).toContain('more than 4,294,967,295 bytes');
  });
});

describe('metrics of a call', () => {
  const counted = (config = {}) => {
    const { sink, take, seconds } = recorder();
    const runtime = isolatedRuntime(config, { metrics: sink });
    const filter = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key, 'named', plugin('misbehave')));
    expect(new Set(take())).toEqual(new Set(['call (probe) filter', 'call (probe) shape', 'call (probe) observe']));
    return { runtime, filter, take, seconds };
  };

  it.each([
    ['', ['call named filter']],
    ['unreachable', ['call named filter', 'trap named filter cc_lb_filter']],
    ['overflow-stack', ['call named filter', 'trap named filter cc_lb_filter']],
    ['loop', ['call named filter', 'trap named filter cc_lb_filter']],
    ['answer-outside', ['call named filter', 'trap named filter reject']],
    ['answer-nothing', ['call named filter', 'trap named filter reject']],
    // An answer that the adapter rejects is not a trap of the guest.
    ['answer-garbage:64', ['call named filter']],
  ])('of behavior "%s" are %j, inline and off-thread', async (behavior, lines) => {
    const { filter, take, seconds } = counted({ deadlineMs: 50 });
    const args = [request(), caller({ do: behavior }), []] as const;
    for (const where of ['inline', 'thread'] as const) {
      seconds.length = 0;
      await filter.filterAsync(...args, { where }).catch(() => {});
      expect(take(), where).toEqual(lines);
      expect(seconds[0]).toBeGreaterThan(behavior === 'loop' ? 0.04 : 0);
      expect(seconds[0]).toBeLessThan(5);
    }
  });

  it('have the phases of alloc and of writing', async () => {
    const { sink, take } = recorder();
    const runtime = newRuntime({}, { metrics: sink });
    const small = `(i32.lt_u (local.get 0) (i32.const ${LONGER_THAN_PROBES}))`;
    for (const [behavior, phase] of [
      ['i32.const 0', 'cc_lb_alloc'],
      ['unreachable', 'cc_lb_alloc'],
      ['i32.const -1', 'memory.write'],
    ]) {
      const alloc = `(if (result i32) ${small} (then i32.const 32768) (else ${behavior}))`;
      const filter = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key, 'n', guest({ alloc })));
      take();
      await rejected(FilterError, filter.filterAsync(LARGE, caller(), []));
      expect(take()).toEqual(['call n filter', `trap n filter ${phase}`]);
    }
  });

  it('are not published for a call that was not made', () => {
    const { runtime, filter, take } = counted();
    expect(() => filter.filter(request({ body: 5 as unknown as Uint8Array }), caller(), [])).toThrow(
      InvalidArgumentError,
    );
    expect(() =>
      WasmtimeFilterPlugin.follow(runtime, SlotKey.global('none')).filter(request(), caller(), []),
    ).toThrow();
    runtime.close();
    expect(() => filter.filter(request(), caller(), [])).toThrow();
    expect(take()).toEqual([]);
  });

  it('have the name of the called version', () => {
    const { sink, take } = recorder();
    const runtime = newRuntime({}, { metrics: sink });
    const slot = runtime.registerObserve(key, 'first', plugin('lifecycle'));
    const pinned = new WasmtimeObservabilityHook(runtime, slot);
    runtime.registerObserve(key, 'second', plugin('lifecycle'), { deadlineMs: 77 });
    take();
    pinned.observe(started());
    WasmtimeObservabilityHook.follow(runtime, key).observe(started());
    expect(take()).toEqual(['call first observe', 'call second observe']);
  });
});
