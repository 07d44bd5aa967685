import { spawnSync } from 'node:child_process';
import { openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { LogDestination } from '../../examples/load-balancer/log-destination.ts';
import { createLogger, logEntry, logRequest } from '../../examples/load-balancer/logging.ts';
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

describe('a log line', () => {
  it("has no character of a plugin's text that a terminal executes or that reorders text", async () => {
    const file = join(temporaryFolder(), 'log');
    const logger = createLogger({ level: 'info' }, new LogDestination(openSync(file, 'w')));
    const text = '\u001b[31m\u009b31m\u202eevil\u2066\u2028\n';
    const request = { requestId: '', method: 'GET', path: '/', principal: null, upstream: null, status: 200 };
    const rest = { isComplete: true, durationMs: 1, passedOver: 0, endedAt: 0 };
    logRequest(logger, { ...request, ...rest, decisions: [{ plugin: text, kept: 1, reason: text }] });
    logEntry(logger, { level: 'warn', requestId: '', message: text, error: new Error(text) });
    const lines = () => readFileSync(file, 'utf8').split('\n');
    await until(() => lines().length === 3);
    for (const line of lines()) expect(line).toMatch(/^[ -~]*$/);
  });
});
