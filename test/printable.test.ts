import { describe, expect, it } from 'vitest';
import { quoted } from '../src/printable.ts';

describe('quoted', () => {
  it.each([
    ['plain "text"', '"plain \\"text\\""'],
    ['\u001b[31m\n', '"\\u001b[31m\\n"'],
    ['\u009b31m', '"\\u009b31m"'],
    ['\u202eevil\u2066', '"\\u202eevil\\u2066"'],
    ['\ud800', '"\\ud800"'],
    ['x'.repeat(81), `"${'x'.repeat(80)}"…`],
  ])('formats %j for a terminal as %s', (text, expected) => {
    expect(quoted(text)).toBe(expected);
  });
});
