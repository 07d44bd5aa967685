// Prepares the checkout, then runs the demo of examples/load-balancer.
import { fileURLToPath } from 'node:url';
import { compileLoadBalancer, LOAD_BALANCER } from './load-balancer.mjs';
import { setUp } from './setup.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

setUp();
compileLoadBalancer();
const { demo } = await import(new URL('demo/demo.js', LOAD_BALANCER));
try {
  await demo(`${root}test/plugins/wasm`);
} catch (error) {
  console.error(`\n✗ ${error.message}`);
  process.exitCode = 1;
}
