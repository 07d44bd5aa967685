/** Replaces signal handlers of the process, which this file has to itself. */
import { describe, expect, it } from 'vitest';
import { WasmtimeFilterPlugin } from '../src/index.ts';
import { SlotKey } from '../src/slot-key.ts';
import { plugin } from './support/plugins.ts';
import { newRuntime } from './support/runtimes.ts';
import { caller, request } from './support/samples.ts';

describe.runIf(process.platform !== 'win32')('health', () => {
  it('is lost when somebody takes the signals that guests trap by', () => {
    const runtime = newRuntime();
    const slot = runtime.registerFilter(SlotKey.global('k'), 'm', plugin('misbehave'));
    const filter = new WasmtimeFilterPlugin(runtime, slot);
    expect(() => filter.filter(request(), caller({ do: 'read-outside' }), [])).toThrow(/out of bounds/);
    expect(runtime.health()).toEqual({ ok: true, problems: [] });
    // Other signals are anybody's.
    process.on('SIGUSR2', () => {});
    expect(runtime.health().ok).toBe(true);

    const listener = () => {};
    process.on('SIGSEGV', listener);
    const told = {
      ok: false,
      problems: ["the handler of SIGSEGV was replaced: a guest's bad memory access would hang or end the process"],
    };
    expect(runtime.health()).toEqual(told);
    expect(newRuntime({ memoryMaxPages: 55 }).health()).toEqual(told);
    // Taking the listener away does not bring the engine's handler back.
    process.off('SIGSEGV', listener);
    expect(runtime.health()).toEqual(told);

    process.on('SIGFPE', listener);
    expect(runtime.health().problems).toHaveLength(2);
    // What does not trap by a signal still works.
    expect(() => filter.filter(request(), caller(), [])).not.toThrow();
  });
});
