import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, it, vi } from 'vitest';
import type { demo } from '../examples/load-balancer/demo/demo.ts';
import { claim } from '../examples/load-balancer/demo/report.ts';
import { compileProgram, GUESTS } from './load-balancer/program.ts';

it('shows everything that it claims', async () => {
  const compiled = join(compileProgram('demo'), 'demo', 'demo.js');
  const { demo: run }: { demo: typeof demo } = await import(pathToFileURL(compiled).href);
  const lines: string[] = [];
  const log = vi.spyOn(console, 'log').mockImplementation((line: string) => void lines.push(line));
  try {
    await run(GUESTS);
  } finally {
    log.mockRestore();
  }
  const report = lines.join('\n');
  for (const claimed of [/\d+ sent, 0 failed/, /env\.read_file/, /deadline 100 ms/, /plugin_failed/, /exit code 0/]) {
    expect(report).toMatch(claimed);
  }
}, 240_000);

it('fails where a claim does not hold', () => {
  expect(() => claim('requests', false, '1 failed')).toThrow('requests: 1 failed');
});
