/** What operators ask, on an address that clients do not reach: `/metrics` and `/health`. */
import { createServer, type Server } from 'node:http';
import type { LoadBalancer } from './load-balancer.ts';

/** A server that is not listening yet. */
export function adminServer(balancer: LoadBalancer): Server {
  return createServer(async (request, response) => {
    switch (request.url) {
      case '/metrics': {
        balancer.runtime.publishPoolMetrics();
        const text = await balancer.registry.metrics();
        response.writeHead(200, { 'content-type': balancer.registry.contentType }).end(text);
        break;
      }
      case '/health': {
        const health = balancer.runtime.health();
        const body = JSON.stringify({ ...health, slots: balancer.runtime.slotCount });
        response.writeHead(health.ok ? 200 : 503, { 'content-type': 'application/json' }).end(body);
        break;
      }
      default:
        response.writeHead(404).end();
    }
  });
}
