/** Admission under attack: mutated plugins and random modules, compared with V8's validator. */
import { writeFileSync } from 'node:fs';
import {
  admitWasm,
  admitWasmAsync,
  GuestTrapError,
  InstantiateFailedError,
  inspectWasm,
  ModuleCompileError,
  ModuleRejectedError,
  ProbeFailedError,
  WasmtimeRuntime,
} from '../../src/index.ts';
import type { Random } from '../wire/fuzz/random.ts';
import { Growth } from './facts.ts';
import { generate, mutate } from './generate.ts';
import { plugin } from './guests.ts';
import { ensure, grouped, type Scenario, Violation } from './scenario.ts';
import { v8Wasm } from './v8.ts';

const DEADLINE_MS = 50;
const COMPILE_MS = 10_000;
const BATCH = 500;
const REAL = ['cache-aware', 'rewrite', 'lifecycle', 'transforms', 'report-0-2-0', 'misbehave'];
/** Proposals that this host disables and V8 enables, for which V8's verdict does not apply. */
const TURNED_OFF =
  /support (is )?not enabled|not (enabled|supported)|disabled|feature required|requires .* proposal|without .* support/;

export const admission: Scenario = {
  unit: 'modules inspected',
  target: 1_000_000,
  async run(run) {
    const runtime = new WasmtimeRuntime({ deadlineMs: DEADLINE_MS, compileTimeoutMs: COMPILE_MS });
    const judge = new Judge(runtime);
    const growth = new Growth(0.25);
    const modules = source(run.random);
    for (let batch = 1; run.hasMore; batch++) {
      for (let count = 0; count < BATCH; count++) {
        const { bytes, whole } = modules.next().value;
        await judge.judge(bytes, wayOf(count, whole));
      }
      run.count(BATCH);
      // Native objects are finalized on the event loop.
      await new Promise((resolve) => setImmediate(resolve));
      if (batch % 20 === 0) await growth.sample(run.done);
    }
    runtime.close();
    return [
      { name: 'inspected', value: grouped(run.done), ok: null },
      { name: 'compiled and probed', value: grouped(judge.probed), ok: null },
      {
        name: 'refused by the compiler',
        value: `${grouped(judge.refused)}, by V8 as well but for what is off`,
        ok: true,
      },
      { name: 'agreed with V8', value: `${grouped(judge.compared)} verdicts`, ok: true },
      { name: 'longest inspection', value: `${judge.longestInspection.toFixed(0)} ms`, ok: null },
      { name: 'longest admission', value: `${judge.longestAdmission.toFixed(0)} ms`, ok: true },
      { ...growth.slopeFigure(Number.POSITIVE_INFINITY), ok: null },
    ];
  },
};

/** An endless sequence of modules: mostly small generated ones, valid and damaged, and damaged real ones. */
function* source(random: Random): Generator<{ bytes: Uint8Array; whole: boolean }, never> {
  const damaged = (bytes: Uint8Array) => ({ bytes, whole: false });
  const real = REAL.map(plugin);
  for (;;) {
    const small = generate(random);
    yield { bytes: small, whole: true };
    // The custom sections at the end are damaged less often, because otherwise no module would reach the compiler.
    for (let count = 0; count < 12; count++)
      yield damaged(mutate(random, small, random.below(8) === 0 ? undefined : small.length - 260));
    const large = random.pick(real);
    yield damaged(mutate(random, large, random.below(4) === 0 ? undefined : Math.floor(large.length * 0.8)));
    for (let count = 0; count < 3; count++)
      yield damaged(mutate(random, large.subarray(0, random.below(large.length))));
  }
}

/** Writes the module of a violation to a file; returns its path. */
function kept(bytes: Uint8Array): string {
  const path = 'build/torture/culprit.wasm';
  writeFileSync(path, bytes);
  return path;
}

/**
 * The steps that a module passes: compiling takes a thousand times as long as inspection. Valid ones pass all steps.
 */
type Way = 'inspect' | 'admit' | 'admit off-thread';
const wayOf = (count: number, whole: boolean): Way =>
  count % 100 === 0 ? 'admit off-thread' : whole || count % 5 === 0 ? 'admit' : 'inspect';

class Judge {
  readonly #runtime: WasmtimeRuntime;
  probed = 0;
  refused = 0;
  compared = 0;
  longestInspection = 0;
  longestAdmission = 0;

  constructor(runtime: WasmtimeRuntime) {
    this.#runtime = runtime;
  }

  async judge(bytes: Uint8Array, way: Way): Promise<void> {
    const began = performance.now();
    const { problems } = inspectWasm(bytes);
    const inspected = performance.now();
    this.longestInspection = Math.max(this.longestInspection, inspected - began);
    if (way === 'inspect' || (problems.length > 0 && way === 'admit')) return;
    const verdict = await this.#admit(bytes, way === 'admit off-thread');
    const took = performance.now() - inspected;
    this.longestAdmission = Math.max(this.longestAdmission, took);
    // Four probes at most, each with its deadline.
    const limit = COMPILE_MS + 4 * (DEADLINE_MS + 1_000);
    ensure(took < limit, () => `admission took ${took.toFixed(0)} ms: ${kept(bytes)}`);
    ensure(problems.length === 0 || verdict instanceof ModuleRejectedError, () => `${problems[0]}, yet ${verdict}`);
    if (problems.length === 0) this.#compare(bytes, verdict);
  }

  async #admit(bytes: Uint8Array, offThread: boolean): Promise<Error | undefined> {
    try {
      if (offThread) await admitWasmAsync(this.#runtime, bytes);
      else admitWasm(this.#runtime, bytes);
      return undefined;
    } catch (error) {
      const kinds = [ModuleRejectedError, ModuleCompileError, ProbeFailedError, InstantiateFailedError, GuestTrapError];
      if (kinds.some((kind) => error instanceof kind)) return error as Error;
      throw new Violation(`admission threw ${error} for ${kept(bytes)}`);
    }
  }

  /** Compares the compiler's verdict with that of V8's validator for features that both enable. */
  #compare(bytes: Uint8Array, verdict: Error | undefined): void {
    const valid = v8Wasm.validate(bytes);
    const compiled = !(verdict instanceof ModuleCompileError);
    if (compiled) this.probed++;
    else this.refused++;
    if (!compiled && valid && TURNED_OFF.test(verdict.message)) return;
    this.compared++;
    ensure(compiled === valid, () => `V8 says ${valid}, the compiler ${verdict?.message}: ${kept(bytes)}`);
  }
}
