/**
 * Repeats every golden call of the Rust host. Answers must be equal, and failures must have the same kind, phase and trap,
 * except where the origin policy is stricter.
 */
import { describe, expect, it } from 'vitest';
import {
  admitWasm,
  DialectError,
  FilterError,
  GuestTrapError,
  ObservabilityError,
  SlotKey,
  WasmtimeFilterPlugin,
  WasmtimeObservabilityHook,
  WasmtimeRuntime,
  WasmtimeUpstreamDialect,
} from '../../src/index.ts';
import { plugin } from '../support/plugins.ts';
import { type GoldenCall, type GoldenError, goldenCalls } from './goldens.ts';

const runtimes = new Map<string, WasmtimeRuntime>();
/** Admits the plugins, because the Rust host does not limit the answers of probes. */
const admitting = new WasmtimeRuntime();

/** Returns a runtime with the config of a golden call and its registered plugin. */
function runtimeFor({ config, plugin: name, hook }: GoldenCall): { runtime: WasmtimeRuntime; key: SlotKey } {
  const id = JSON.stringify(config);
  const runtime = runtimes.get(id) ?? new WasmtimeRuntime({ ...config, deadlineMs: 60_000 });
  runtimes.set(id, runtime);
  admitWasm(admitting, plugin(name));
  const key = new SlotKey(hook, name);
  if (hook === 'filter') runtime.registerFilter(key, name, plugin(name));
  else if (hook === 'shape') runtime.registerShape(key, name, plugin(name));
  else runtime.registerObserve(key, name, plugin(name));
  return { runtime, key };
}

/** Makes the call and returns its result in the form of the golden file. Throws the errors of the adapter. */
function make(call: GoldenCall): unknown {
  const { runtime, key } = runtimeFor(call);
  switch (call.hook) {
    case 'filter': {
      const output = WasmtimeFilterPlugin.follow(runtime, key).filter(call.ctx, call.principal, call.candidates);
      return { ...output, perCandidateReasons: output.perCandidateReasons.map(({ reason }) => reason) };
    }
    case 'shape': {
      const { url, method, headers, body } = WasmtimeUpstreamDialect.follow(runtime, key).shape(
        call.ctx,
        call.upstream,
        call.principal,
      );
      return { url: url.href, method, headers, body: Buffer.from(body).toString('hex') };
    }
    case 'observe': {
      const error = WasmtimeObservabilityHook.follow(runtime, key).observe(call.event);
      if (error !== undefined) throw error;
      return null;
    }
  }
}

/** URLs that the Rust host accepts under this policy because it compares only origins. */
const OTHER_CREDENTIALS = /^shape puppet url "(?:https:\/\/user(?::pw)?@|blob:)\S+ under selected-upstream-origin/;

function expectedOf(call: GoldenCall): unknown {
  if (call.expected.error !== undefined) return undefined;
  if (call.hook !== 'shape') return call.expected.ok;
  return { ...call.expected.ok, body: Buffer.from(call.expected.ok.body).toString('hex') };
}

/** The message of this package for each kind of failure of the Rust host. */
const SHAPE_FAILURES: Readonly<Record<string, RegExp>> = { upstream_mismatch: /origin/, invalid_url: /url/i };

function expectSameFailure(call: GoldenCall, golden: GoldenError, error: unknown): void {
  const trap = /(?:guest trap during )?(\S+): wasm trap: (.+)$/.exec(golden.text);
  const type = { filter: FilterError, shape: DialectError, observe: ObservabilityError }[call.hook];
  expect(error).toBeInstanceOf(type);
  const { cause, message } = error as Error;
  if (error instanceof FilterError) expect(error.kind).toBe(golden.kind);
  if (error instanceof DialectError) expect(error.kind).toBe(golden.kind.replaceAll('_', '-'));
  if (trap === null) {
    expect(cause).not.toBeInstanceOf(GuestTrapError);
    if (call.hook === 'shape') expect(message).toMatch(SHAPE_FAILURES[golden.kind] ?? /./);
  } else {
    expect(cause).toBeInstanceOf(GuestTrapError);
    expect((cause as GuestTrapError).phase).toBe(trap[1]);
    expect(message).toContain(trap[2]);
  }
}

function outcomeOf(call: GoldenCall): { value: unknown } | { error: unknown } {
  try {
    return { value: make(call) };
  } catch (error) {
    return { error };
  }
}

const files = (['calls', 'filter-answers', 'shape-answers'] as const).map((file) => ({
  file,
  calls: goldenCalls(file),
}));

describe.each(files)('calls of $file', ({ calls }) => {
  it.each(calls)('$name', (call) => {
    const outcome = outcomeOf(call);
    if (OTHER_CREDENTIALS.test(call.name)) {
      expect(call.expected.error).toBeUndefined();
      expect(outcome).toMatchObject({ error: { code: 'CC_LB_DIALECT', cause: { rule: 'origin' } } });
      return;
    }
    const { error } = call.expected;
    if (error === undefined) expect(outcome).toEqual({ value: expectedOf(call) });
    else expectSameFailure(call, error, 'error' in outcome ? outcome.error : outcome);
  });
});
