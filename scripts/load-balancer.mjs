// The load balancer of examples/load-balancer as a program: for the demo, the load test and the test of the status page.
import { must } from './commands.mjs';

/** The URL of the folder of the compiled program. */
export const LOAD_BALANCER = new URL('../examples/load-balancer/build/', import.meta.url);

/** Compiles the program. Exits with 1 if this fails. */
export function compileLoadBalancer() {
  must(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'examples/load-balancer']);
}
