// `npm run bench:hand-over`: measures the time for which an inline and an off-thread call block the event loop. The
// result determines from which body size `where: 'auto'` selects another thread.
import { setUp } from '../scripts/setup.mjs';
import { moduleOf } from './modules.mjs';
import { median } from './statistics.mjs';
import { principals, requests } from './traffic.mjs';

const CALLS = 300;
const SIZES_KIB = [1, 16, 64, 128, 256, 1024];

setUp();
const { SlotKey, WasmtimeFilterPlugin, WasmtimeRuntime, WasmtimeUpstreamDialect, productionHotEngineConfig } =
  await import('../dist/index.js');
const runtime = new WasmtimeRuntime(productionHotEngineConfig());
const register = (method, plugin) => runtime[method](SlotKey.global(plugin), plugin, moduleOf(plugin, 'plain', 0));
const filter = new WasmtimeFilterPlugin(runtime, register('registerFilter', 'cache-aware'));
const dialect = new WasmtimeUpstreamDialect(runtime, register('registerShape', 'echo'));
const [principal] = principals(1);
const calls = {
  filter: ({ ctx, candidates }, where) => filter.filterAsync(ctx, principal, candidates, { where }),
  shape: ({ ctx, upstream }, where) => dialect.shapeAsync(ctx, upstream, principal, { where }),
};

/** The median time in µs for which a call blocks the event loop. */
async function held(call, ring, where) {
  const times = [];
  for (let index = 0; index < CALLS; index++) {
    const before = performance.eventLoopUtilization();
    const began = performance.now();
    const pending = call(ring[index % ring.length], where);
    const called = performance.now() - began;
    await pending;
    // An inline call has ended when its promise is returned; of the other the event loop runs both halves.
    times.push((where === 'inline' ? called : performance.eventLoopUtilization(before).active) * 1000);
  }
  return median(times);
}

console.log('median time that a call holds the event loop, µs\nhook    body       inline  thread');
for (const [hook, call] of Object.entries(calls)) {
  for (const kib of SIZES_KIB) {
    const ring = requests(kib * 1024);
    const [inline, thread] = [await held(call, ring, 'inline'), await held(call, ring, 'thread')];
    console.log(`${hook.padEnd(7)} ${`${kib} KiB`.padEnd(10)} ${inline.toFixed(0).padEnd(7)} ${thread.toFixed(0)}`);
  }
}
runtime.close();
