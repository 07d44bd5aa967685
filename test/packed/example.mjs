// Starts the copied and compiled load balancer with its example config on free ports, and shuts it down.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

const installed = resolve('node_modules/cc-lb-runtime-wasmtime/examples/load-balancer');
const config = JSON.parse(readFileSync(join(installed, 'config.example.json'), 'utf8'));
config.listen.port = 0;
config.admin.port = 0;
for (const plugin of config.plugins) plugin.file = resolve(installed, plugin.file);
writeFileSync('config.json', JSON.stringify(config));

const program = spawn(process.execPath, ['load-balancer/build/main.js', 'config.json'], {
  env: { ...process.env, ANTHROPIC_API_KEY: 'none' },
  stdio: ['ignore', 'pipe', 'inherit'],
});
const ended = once(program, 'exit');
let wasStarted = false;
for await (const line of createInterface({ input: program.stdout })) {
  const { msg, admin } = JSON.parse(line);
  if (msg !== 'started') continue;
  wasStarted = true;
  const plugins = await (await fetch(`${admin}/plugins`)).json();
  assert.deepEqual(
    plugins.map(({ plugin }) => plugin),
    config.plugins.map(({ name }) => name),
  );
  program.kill('SIGTERM');
}
assert.ok(wasStarted);
assert.deepEqual(await ended, [0, null]);
