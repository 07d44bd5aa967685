import { fileURLToPath } from 'node:url';
import { expect, it, vi } from 'vitest';
import { demo } from '../examples/load-balancer/demo/demo.ts';
import { claim } from '../examples/load-balancer/demo/report.ts';

it('the demo reports every claim', async () => {
  const lines: string[] = [];
  const log = vi.spyOn(console, 'log').mockImplementation((line: string) => void lines.push(line));
  try {
    await demo(fileURLToPath(new URL('plugins/wasm', import.meta.url)));
  } finally {
    log.mockRestore();
  }
  const report = lines.join('\n');
  for (const claimed of ['600 sent, 600 answered 200, 0 failed', 'env.read_file', 'deadline 100 ms', 'plugin_failed']) {
    expect(report).toContain(claimed);
  }
});

it('claim throws for a claim that does not hold', () => {
  expect(() => claim('requests', false, '1 failed')).toThrow('requests: 1 failed');
});
