// Prepares the checkout, then runs the demo of examples/load-balancer.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { setUp } from './setup.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

setUp();
const compiler = ['node_modules/typescript/bin/tsc', '-p', 'examples/load-balancer'];
const { status } = spawnSync(process.execPath, compiler, { cwd: root, stdio: 'inherit' });
if (status !== 0) process.exit(status ?? 1);

const { demo } = await import('../build/load-balancer/demo/demo.js');
try {
  await demo(`${root}test/plugins/wasm`);
} catch (error) {
  console.error(`\n✗ ${error.message}`);
  process.exitCode = 1;
}
