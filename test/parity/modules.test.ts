/** Inspects and admits every golden module of the Rust host. Verdicts must be of the same kind, except for a list of deviations. */
import { afterAll, describe, expect, it } from 'vitest';
import {
  admitWasm,
  InstantiateFailedError,
  inspectWasm,
  ModuleCompileError,
  ModuleRejectedError,
  ProbeFailedError,
  WasmtimeRuntime,
} from '../../src/index.ts';
import { thrown } from '../support/errors.ts';
import { type GoldenModule, type GoldenVerdict, goldenModules, goldenTransforms } from './goldens.ts';

type Kind = 'ok' | Exclude<GoldenVerdict, 'ok'>['error'];

const KINDS = [
  ['ModuleRejected', ModuleRejectedError],
  ['ModuleCompile', ModuleCompileError],
  ['InstantiateFailed', InstantiateFailedError],
  ['ProbeFailed', ProbeFailedError],
] as const;

const STAGES = ['inspect', 'admit', 'admitPooling'] as const;

/** Modules with a different verdict in this package: the verdicts that differ, by stage, and the reason. */
const DEVIATIONS: readonly { name: RegExp; verdicts: Partial<Record<(typeof STAGES)[number], Kind>>; why: string }[] = [
  {
    name: /^one bit flipped in byte (12|15|18|24|27)$/,
    verdicts: { inspect: 'ModuleRejected', admit: 'ModuleRejected', admitPooling: 'ModuleRejected' },
    why: 'a broken type section stops inspection, which reads types for the signatures of exports',
  },
  {
    name: /^metadata "\[\\"n\\",\\"1\\",\\"d\\",\\"u\\",\{\\"filter\\":(\{.*\}|\[1,\\"d\\",\\"u\\"\])\}\]"$/,
    verdicts: { inspect: 'ModuleRejected', admit: 'ModuleRejected', admitPooling: 'ModuleRejected' },
    why: 'metadata is an object: serde also reads a struct from an array, which the format does not document',
  },
  {
    name: /^metadata ignored text with bytes /,
    verdicts: { inspect: 'ModuleRejected', admit: 'ModuleRejected', admitPooling: 'ModuleRejected' },
    why: 'JSON must be UTF-8, also in ignored fields',
  },
  {
    name: /^filter: (start function traps|data beyond memory|memory of no pages)$/,
    verdicts: { admit: 'InstantiateFailed', admitPooling: 'InstantiateFailed' },
    why: 'a failure before a hook is entered is reported as a failed instantiation, with the trap as its cause',
  },
];

const runtimes = {
  admit: new WasmtimeRuntime({ deadlineMs: 60_000 }),
  admitPooling: new WasmtimeRuntime({ deadlineMs: 60_000, allocationStrategy: 'pooling', poolTotalMemories: 8 }),
};
afterAll(() => {
  for (const runtime of Object.values(runtimes)) runtime.close();
});

/** Returns the kind of this package's verdict on a golden module at a stage. */
function verdictOf({ bytes, kind }: GoldenModule, stage: (typeof STAGES)[number]): Kind {
  if (stage === 'inspect') return inspectWasm(bytes, kind).problems.length === 0 ? 'ok' : 'ModuleRejected';
  try {
    admitWasm(runtimes[stage], bytes, kind);
    return 'ok';
  } catch (error) {
    const known = KINDS.find(([, type]) => error instanceof type);
    if (known === undefined) throw error;
    return known[0];
  }
}

const goldenKind = (verdict: GoldenVerdict): Kind => (verdict === 'ok' ? 'ok' : verdict.error);

describe('golden plugins that accept one request of a transform', () => {
  it.each(goldenTransforms())('$name', ({ bytes, admit }) => {
    if (admit === 'ok') expect(admitWasm(runtimes.admit, bytes, 'shape').metadata.name).toBe('n');
    else expect(thrown(ProbeFailedError, () => admitWasm(runtimes.admit, bytes, 'shape')).hook).toBe(admit.hook);
  });
});

describe('golden modules', () => {
  it.each(goldenModules())('$name', (module) => {
    const deviation = DEVIATIONS.find(({ name }) => name.test(module.name));
    const golden = STAGES.map((stage) => goldenKind(module[stage]));
    const expected = STAGES.map((stage) => deviation?.verdicts[stage] ?? goldenKind(module[stage]));
    expect(STAGES.map((stage) => verdictOf(module, stage))).toEqual(expected);
    // Fails for an entry of the list that no longer deviates.
    if (deviation !== undefined) expect(expected, deviation.why).not.toEqual(golden);
  });

  it('include every module of the list of deviations', () => {
    const names = goldenModules().map(({ name }) => name);
    for (const { name } of DEVIATIONS) expect(names.filter((each) => name.test(each)).length).toBeGreaterThan(0);
  });
});
