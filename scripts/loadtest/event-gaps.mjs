// Reads one long event stream and measures the time between its events.
import { request } from 'node:http';
import { HEADERS } from './contestants.mjs';
import { bodyOf } from './measure.mjs';

const EVENT_END = Buffer.from('\n\n');

/** Returns the sorted milliseconds between the arrivals of events. */
export function gaps({ url, headers }, { count, gapMs }) {
  const body = bodyOf(1_000, { stream: true });
  const all = { ...HEADERS, ...headers, 'x-events': count, 'x-gap': gapMs, 'content-length': body.length };
  return new Promise((resolve, reject) => {
    const sent = request(`${url}/v1/messages`, { method: 'POST', headers: all, agent: false }, (answer) => {
      const taken = [];
      let last = performance.now();
      answer.on('data', (chunk) => {
        const now = performance.now();
        // Events of one chunk arrive at the same time.
        for (let at = chunk.indexOf(EVENT_END); at >= 0; at = chunk.indexOf(EVENT_END, at + 2)) {
          taken.push(now - last);
          last = now;
        }
      });
      answer.on('end', () => resolve(Float64Array.from(taken.slice(1)).sort()));
      answer.on('error', reject);
    });
    sent.on('error', reject);
    sent.end(body);
  });
}
