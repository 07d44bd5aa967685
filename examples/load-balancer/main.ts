/**
 * Runs the load balancer with a config file: `node main.js config.json`. SIGHUP reads the file again and deploys its
 * routes, SIGTERM and SIGINT shut down gracefully; during the shutdown, further signals have no effect.
 */
import { ConfigError, readConfig } from './config.ts';
import { Service } from './service.ts';

const [file] = process.argv.slice(2);
if (file === undefined) {
  console.error('usage: node main.js config.json');
  process.exit(2);
}

let service: Service;
try {
  service = new Service(file, await readConfig(file));
  await service.start();
} catch (error) {
  console.error(error instanceof ConfigError ? error.message : error);
  process.exit(1);
}

process.on('SIGHUP', () => void service.reload());
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, async () => {
    await service.close();
    process.exit(0);
  });
}
