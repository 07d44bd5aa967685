import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { guestBytes } from '../plugins/v8.ts';
import { GOLDEN_FILES, goldenCalls, goldenModules, goldenPlugins } from './goldens.ts';

describe('golden files', () => {
  it.each(GOLDEN_FILES)('%s was made with the current guests', (file) => {
    for (const [plugin, digest] of Object.entries(goldenPlugins(file))) {
      expect(createHash('sha256').update(guestBytes(plugin)).digest('hex'), plugin).toBe(digest);
    }
  });

  it('contain varied calls with unique names', () => {
    const calls = goldenCalls('calls');
    expect(new Set(calls.map((call) => call.name)).size).toBe(calls.length);
    expect(calls.filter((call) => call.hook !== 'observe').length).toBeGreaterThanOrEqual(250);
    const candidates = calls.flatMap((call) => (call.hook === 'filter' ? [call.candidates.length] : []));
    expect(Math.min(...candidates)).toBe(0);
    expect(Math.max(...candidates)).toBe(40);
    const bodies = calls.flatMap((call) => (call.hook === 'observe' ? [] : [call.ctx.body.length]));
    expect(Math.min(...bodies)).toBe(0);
    expect(Math.max(...bodies)).toBe(65_500);
    const kinds = calls.flatMap((call) => (call.hook === 'observe' ? [] : [call.principal.kind]));
    expect(new Set(kinds).size).toBe(5);
  });

  it('preserve integers past 2^53 and bodies', () => {
    const seconds = goldenCalls('calls').flatMap((call) =>
      call.hook === 'filter' ? call.candidates.map((candidate) => candidate.observedAtUnixSecs) : [],
    );
    expect(seconds).toContain(2n ** 64n - 1n);
    expect(seconds).toContain(2n ** 53n);
    for (const call of goldenCalls('shape-answers')) {
      if (call.hook === 'shape' && !call.expected.error) expect(call.expected.ok.body).toBeInstanceOf(Uint8Array);
    }
  });

  it('contain modules of every verdict', () => {
    const verdicts = goldenModules().map(({ admit }) => (admit === 'ok' ? admit : admit.error));
    expect(new Set(verdicts)).toEqual(new Set(['ok', 'ModuleRejected', 'ModuleCompile', 'ProbeFailed']));
  });
});
