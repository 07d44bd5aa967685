/**
 * Runs the load balancer from a config file: `node main.js config.json`. SIGHUP reads the file again and swaps in what it
 * says, SIGTERM and SIGINT shut down gracefully.
 */
import { adminServer } from './admin.ts';
import { readConfig } from './config.ts';
import { LoadBalancer, listening } from './load-balancer.ts';

const [path] = process.argv.slice(2);
if (path === undefined) {
  console.error('usage: node main.js config.json');
  process.exit(2);
}

const { listen, admin, routes, ...options } = await readConfig(path);
const balancer = new LoadBalancer(options);
await balancer.publish(routes);
console.log(`requests: ${await balancer.listen(listen)}`);
const adminListener = adminServer(balancer);
console.log(`metrics and health: ${await listening(adminListener, admin)}`);

process.on('SIGHUP', async () => {
  try {
    const { keys } = await balancer.publish((await readConfig(path)).routes);
    console.log(`swapped in: ${keys.join(', ')}`);
  } catch (error) {
    console.error(`not swapped in: ${error instanceof Error ? error.message : error}`);
  }
});

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, async () => {
    await balancer.close();
    adminListener.close();
  });
}
