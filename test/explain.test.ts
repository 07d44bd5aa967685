import diagnosticsChannel from 'node:diagnostics_channel';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { run } from '../src/cli/run.ts';
import {
  explain,
  FilterError,
  InvalidArgumentError,
  ModuleRejectedError,
  ProbeFailedError,
  WasmtimeFilterPlugin,
} from '../src/index.ts';
import { SlotKey } from '../src/slot-key.ts';
import { thrown } from './support/errors.ts';
import { guest, LONGER_THAN_PROBES } from './support/guest.ts';
import { plugin } from './support/plugins.ts';
import { newRuntime } from './support/runtimes.ts';
import { caller, candidates, request } from './support/samples.ts';
import { append, customSection, leb, section } from './support/wat.ts';

/** Adds a name section for the first functions to the module, because the assembler does not write one. */
function named(wasm: Uint8Array, names: readonly string[]): Uint8Array {
  const entries = names.flatMap((name, index) => [
    ...leb(index),
    ...leb(Buffer.byteLength(name)),
    ...Buffer.from(name),
  ]);
  const functions = section(1, [...leb(names.length), ...entries]);
  return append(wasm, customSection('name', functions));
}

/** FAILING traps in a nested function. Its name has HTML and control characters. */
const NAMES = ['<b>\u001b[31m\n', 'middle'];
const FAILING = named(
  guest({
    fields: '(func $inner unreachable) (func $middle (call $inner))',
    hook: `(if (i32.gt_u (local.get 1) (i32.const ${LONGER_THAN_PROBES})) (then (call $middle))) $answer`,
  }),
  NAMES,
);
const input = { context: request({ body: Buffer.alloc(4096) }), principal: caller(), candidates: candidates(1) };
const folder = mkdtempSync(join(tmpdir(), 'explain-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('explain', () => {
  it.each([
    [null, 'request'],
    [{ events: {} }, 'request.events'],
  ])('rejects the request %j with the path %s', async (bad, path) => {
    const rejected = explain(plugin('transforms'), 'transform_sse_event', bad as never);
    await expect(rejected).rejects.toMatchObject({ code: 'CC_LB_INVALID_ARGUMENT', path });
  });

  it('reports the trap, its phase and the active functions, innermost first', async () => {
    const { output, error, trap } = await explain(FAILING, 'filter', input);
    expect(output).toBeNull();
    expect(error).toBeInstanceOf(FilterError);
    expect(trap).toMatchObject({ phase: 'cc_lb_filter', trap: 'unreachable-code-reached' });
    expect(trap?.frames.map(({ function: name }) => name).slice(0, 2)).toEqual(NAMES);
    expect(trap?.frames[0]?.offset).toBeGreaterThan(0);
  });

  it('reports the stack of an expired call', async () => {
    const endless = named(
      guest({
        fields: '(func $spin (loop $again (br $again)))',
        hook: `(if (i32.gt_u (local.get 1) (i32.const ${LONGER_THAN_PROBES})) (then (call $spin))) $answer`,
      }),
      ['spin'],
    );
    const { trap } = await explain(endless, 'filter', input, { deadlineMs: 50 });
    expect(trap).toMatchObject({ trap: 'interrupt', frames: [{ function: 'spin' }, {}] });
  });

  it('reports a failure without a trap, and the output of a call that succeeds', async () => {
    const { error, trap } = await explain(plugin('misbehave'), 'filter', {
      ...input,
      principal: caller({ do: 'answer-garbage:64' }),
    });
    expect(error).toBeInstanceOf(FilterError);
    expect(trap).toBeNull();
    const answered = await explain(plugin('cache-aware'), 'filter', input);
    expect(answered).toMatchObject({ error: null, trap: null, output: { keptUpstreamIds: [expect.any(String)] } });
  });

  it('reports a sample of admission that fails like the call', async () => {
    const { error, trap } = await explain(named(guest({ hook: 'unreachable' }), []), 'filter', input);
    expect(error).toBeInstanceOf(ProbeFailedError);
    expect(trap).toMatchObject({ phase: 'cc_lb_filter', frames: [{}] });
  });

  it('admits the module off this thread', async () => {
    const events: unknown[] = [];
    const listener = (event: unknown) => void events.push(event);
    diagnosticsChannel.subscribe('cc-lb-runtime-wasmtime:admission', listener);
    const explained = explain(plugin('cache-aware'), 'filter', input);
    expect(events).toEqual([]);
    await explained;
    expect(events).toHaveLength(1);
    diagnosticsChannel.unsubscribe('cc-lb-runtime-wasmtime:admission', listener);
  });

  it('rejects a module that is not admitted, and an invalid request', async () => {
    await expect(explain(new Uint8Array(8), 'filter', input)).rejects.toThrow(ModuleRejectedError);
    await expect(explain(FAILING, 'filter', { ...input, candidates: 5 })).rejects.toThrow(InvalidArgumentError);
  });

  it('does not slow other runtimes down: their traps have no frames', () => {
    const runtime = newRuntime();
    const filter = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(SlotKey.global('f'), 'f', FAILING));
    const { cause } = thrown(FilterError, () => filter.filter(input.context, input.principal, input.candidates));
    expect(cause).toMatchObject({ trap: 'unreachable-code-reached', frames: [] });
  });
});

describe('cc-lb-plugin', () => {
  async function command(...argv: string[]): Promise<{ code: number; out: string }> {
    const lines: string[] = [];
    const code = await run(argv, { out: (text) => lines.push(text), err: (text) => lines.push(text) });
    return { code, out: lines.join('\n') };
  }

  function file(name: string, content: Uint8Array | object): string {
    const path = join(folder, name);
    writeFileSync(path, content instanceof Uint8Array ? content : JSON.stringify(content));
    return path;
  }

  it('explain prints the stack with escaped names', async () => {
    const json = { ...input, context: { ...input.context, body: 'x'.repeat(4096) } };
    const args = [file('failing.wasm', FAILING), '--hook', 'filter', '--request', file('r.json', json)];
    const { code, out } = await command('explain', ...args);
    expect(code).toBe(1);
    expect(out).toContain('trap unreachable-code-reached in phase cc_lb_filter');
    expect(out).toMatch(/function +index +offset/);
    expect(out).toContain('middle');
    expect(out).not.toContain('\u001b');
    const { out: asJson } = await command('explain', ...args, '--json');
    expect(JSON.parse(asJson)).toMatchObject({ error: { code: 'CC_LB_FILTER' }, trap: { frames: [{}, {}, {}] } });
  });

  it('explain reports that the call did not fail, and requires --hook', async () => {
    const path = file('good.wasm', plugin('cache-aware'));
    expect(await command('explain', path, '--hook', 'filter')).toEqual({ code: 0, out: 'the call did not fail' });
    expect((await command('explain', path)).code).toBe(2);
  });

  it('call sends a sequence of events to one instance', async () => {
    const events = ['sk-se', 'cr', 'et!'].map((data) => ({ event: 'message', data }));
    const { code: sampled, out: sample } = await command(
      'call',
      file('m.wasm', plugin('masker')),
      '--hook',
      'transform_sse_event',
      '--print-sample',
    );
    expect(sampled).toBe(0);
    const { event: _, ...context } = JSON.parse(sample);
    const request = file('events.json', { ...context, events });
    const { code, out } = await command(
      'call',
      file('m.wasm', plugin('masker')),
      '--hook',
      'transform_sse_event',
      '--request',
      request,
    );
    expect(code).toBe(0);
    expect(out).toContain('data: *********!');
    expect(
      (
        await command(
          'call',
          file('m.wasm', plugin('masker')),
          '--hook',
          'transform_sse_event',
          '--request',
          file('bad.json', { ...context, events: 5 }),
        )
      ).code,
    ).toBe(2);
  });
});
