import { spawnSync } from 'node:child_process';
import { openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { LogDestination } from '../../examples/load-balancer/log-destination.ts';
import { compileProgram, temporaryFolder } from './program.ts';
import { until } from './support.ts';

describe('LogDestination', () => {
  it('writes lines in order, and drops and counts those that exceed the limit of waiting lines', async () => {
    const file = join(temporaryFolder(), 'log');
    const destination = new LogDestination(openSync(file, 'w'));
    const padding = 'x'.repeat(1_000);
    for (let i = 0; i < 10_000; i++) destination.write(`${i} ${padding}\n`);
    const { dropped } = destination;
    expect(dropped).toBeGreaterThan(0);
    const lines = () => readFileSync(file, 'utf8').split('\n').slice(0, -1);
    await until(() => lines().length === 10_000 - dropped);
    expect(lines()).toEqual(Array.from({ length: 10_000 - dropped }, (_, i) => `${i} ${padding}`));
  });

  it('writes waiting lines when the process exits', () => {
    const module = JSON.stringify(join(compileProgram('logging'), 'log-destination.js'));
    const script = `
      import { LogDestination } from ${module};
      const destination = new LogDestination();
      for (const line of ['1', '2', '3']) destination.write(line + '\\n');
      process.exit();`;
    const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    expect(stdout.split('\n').sort()).toEqual(['', '1', '2', '3']);
  });
});
