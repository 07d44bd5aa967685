/** This file replaces signal handlers of the process, so it must run in a process of its own. */
import { describe, expect, it } from 'vitest';
import { WasmtimeFilterPlugin } from '../src/index.ts';
import { SlotKey } from '../src/slot-key.ts';
import { plugin } from './support/plugins.ts';
import { newRuntime } from './support/runtimes.ts';
import { caller, request } from './support/samples.ts';

describe.runIf(process.platform === 'linux')('WasmtimeRuntime.health', () => {
  it('reports signals whose handlers were replaced', () => {
    const runtime = newRuntime();
    const slot = runtime.registerFilter(SlotKey.global('k'), 'm', plugin('misbehave'));
    const filter = new WasmtimeFilterPlugin(runtime, slot);
    expect(() => filter.filter(request(), caller({ do: 'read-outside' }), [])).toThrow(/out of bounds/);
    expect(runtime.health()).toEqual({ ok: true, problems: [] });
    // The runtime does not use other signals.
    process.on('SIGUSR2', () => {});
    expect(runtime.health().ok).toBe(true);

    const listener = () => {};
    process.on('SIGSEGV', listener);
    const unhealthy = {
      ok: false,
      problems: ["the handler of SIGSEGV was replaced: a guest's bad memory access would hang or end the process"],
    };
    expect(runtime.health()).toEqual(unhealthy);
    expect(newRuntime({ memoryMaxPages: 55 }).health()).toEqual(unhealthy);
    // Removing the listener does not restore the engine's handler.
    process.off('SIGSEGV', listener);
    expect(runtime.health()).toEqual(unhealthy);

    process.on('SIGFPE', listener);
    expect(runtime.health().problems).toHaveLength(2);
    // Calls that do not trap by a signal still work.
    expect(() => filter.filter(request(), caller(), [])).not.toThrow();
  });
});
