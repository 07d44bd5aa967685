// Measures itself on command, in the Rust peer's protocol: a line of JSON in, a line of JSON out. One process for this
// package, one for V8 with a fresh instance for every call.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { part } from './parts.mjs';
import { traffic } from './traffic.mjs';

const dist = new URL('../../dist/', import.meta.url);
const guest = (step) =>
  readFileSync(new URL(`../../test/plugins/wasm/${step === 'filter' ? 'cache-aware' : 'echo'}.wasm`, import.meta.url));
const runtimes = new Map();

/** A function that makes one call, typed request in, typed answer out. */
async function caller(command) {
  return command.engine === 'v8' ? v8Caller(command) : packageCaller(command);
}

async function packageCaller({ step, config, slots = 1 }) {
  const api = await import(new URL('index.js', dist));
  const configs = {
    'on-demand': () => ({ deadlineMs: 1_000 }),
    pooling: () => ({ allocationStrategy: 'pooling', deadlineMs: 1_000 }),
    production: api.productionHotEngineConfig,
    'low-latency': api.lowLatencyHotEngineConfig,
  };
  let runtime = runtimes.get(config);
  if (runtime === undefined) {
    runtime = new api.WasmtimeRuntime(configs[config]());
    runtimes.set(config, runtime);
  }
  const Adapter = step === 'filter' ? api.WasmtimeFilterPlugin : api.WasmtimeUpstreamDialect;
  const register = step === 'filter' ? 'registerFilter' : 'registerShape';
  const adapters = Array.from({ length: slots }, (_, index) => {
    const key = new api.SlotKey(`tenant-${index}`, step);
    return new Adapter(runtime, runtime[register](key, step, guest(step)));
  });
  let next = 0;
  const adapter = () => adapters[next++ % slots];
  return step === 'filter'
    ? ({ ctx, principal, candidates }) => adapter().filter(ctx, principal, candidates)
    : ({ ctx, principal, upstream }) => adapter().shape(ctx, upstream, principal);
}

async function v8Caller({ step }) {
  const { encodeToBytes } = await part('wire/encode');
  const { decodeAnswer } = await part('wire/decode');
  const { EDITIONS } = await part('wire/editions');
  const { claimsToWire } = await part('claims');
  const { requestHeaders } = await part('policy/headers');
  const module = new WebAssembly.Module(guest(step));
  const { request, response } = EDITIONS[step][0];
  return ({ ctx, principal, candidates, upstream }) => {
    const bytes = encodeToBytes(request, {
      ...ctx,
      headers: requestHeaders(ctx.headers, { cookieRedaction: false }),
      principal: { ...principal, claims: claimsToWire(principal.claims) },
      candidates,
      upstream,
    });
    const { exports } = new WebAssembly.Instance(module);
    const pointer = exports.cc_lb_alloc(bytes.length, 16);
    new Uint8Array(exports.memory.buffer).set(bytes, pointer);
    const packed = exports[`cc_lb_${step}`](pointer, bytes.length);
    const at = Number(packed >> 32n);
    return decodeAnswer(response, new Uint8Array(exports.memory.buffer).slice(at, at + Number(packed & 0xffffffffn)));
  };
}

/** Calls `iterations` times and says how long each took; with a rate, calls arrive one after the other at that rate. */
async function measure(command) {
  const { iterations, warmup = 0, openLoopRate } = command;
  const call = await caller(command);
  const ring = traffic(command);
  let sink = 0;
  const one = (index) => {
    const answer = call(ring[index % ring.length]);
    sink += (answer.body ?? answer.keptUpstreamIds ?? answer.results).length;
  };
  for (let index = 0; index < warmup; index++) one(index);
  const micros = new Float64Array(iterations);
  const cpuBefore = process.cpuUsage();
  const began = performance.now();
  let busy = 0;
  for (let index = 0; index < iterations; index++) {
    let due = performance.now();
    if (openLoopRate !== undefined) {
      due = began + (index * 1000) / openLoopRate;
      while (performance.now() < due);
    }
    const started = performance.now();
    one(index);
    const ended = performance.now();
    // A call that starts late because the one before it took long was late for whoever waits for it.
    micros[index] = (ended - (openLoopRate === undefined ? started : due)) * 1000;
    busy += ended - started;
  }
  const elapsed = performance.now() - began;
  const { user, system } = process.cpuUsage(cpuBefore);
  micros.sort();
  const at = (share) => micros[Math.min(iterations - 1, Math.floor(iterations * share))];
  return {
    ...{ p50Us: at(0.5), p90Us: at(0.9), p99Us: at(0.99), maxUs: micros[iterations - 1] },
    ...{ meanUs: (busy * 1000) / iterations, loopUsPerCall: (busy * 1000) / iterations },
    ...{ calls: iterations, callsPerSecond: iterations / (elapsed / 1000) },
    cpuUsPerCall: openLoopRate === undefined ? (user + system) / iterations : null,
    ...{ rssKiB: process.memoryUsage.rss() / 1024, peakRssKiB: process.resourceUsage().maxRSS, sink },
  };
}

/** How long the event loop is held by one call, on this thread and handed to another: medians in µs. */
async function measureWhere(command) {
  const api = await import(new URL('index.js', dist));
  const runtime = new api.WasmtimeRuntime(api.productionHotEngineConfig());
  const key = api.SlotKey.global(command.step);
  const filter = command.step === 'filter';
  const slot = runtime[filter ? 'registerFilter' : 'registerShape'](key, command.step, guest(command.step));
  const adapter = filter ? new api.WasmtimeFilterPlugin(runtime, slot) : new api.WasmtimeUpstreamDialect(runtime, slot);
  const ring = traffic(command);
  const medians = {};
  for (const where of ['inline', 'thread']) {
    const held = [];
    for (let index = 0; index < command.iterations; index++) {
      const { ctx, principal, candidates, upstream } = ring[index % ring.length];
      const before = performance.eventLoopUtilization();
      const began = performance.now();
      const pending = filter
        ? adapter.filterAsync(ctx, principal, candidates, { where })
        : adapter.shapeAsync(ctx, upstream, principal, { where });
      const called = performance.now() - began;
      await pending;
      // An inline call has ended when its promise is there; of the other the loop counts both halves.
      const active = where === 'inline' ? called : performance.eventLoopUtilization(before).active;
      held.push(active * 1000);
    }
    held.sort((a, b) => a - b);
    medians[where] = held[held.length >> 1];
  }
  runtime.close();
  return medians;
}

/** The same on several threads at once; calls per second are those of all together. */
async function onWorkers(command) {
  const began = performance.now();
  const results = await Promise.all(
    Array.from(
      { length: command.threads },
      () =>
        new Promise((resolve, reject) => {
          const worker = new Worker(fileURLToPath(import.meta.url), { workerData: { ...command, threads: 1 } });
          worker.once('message', resolve);
          worker.once('error', reject);
        }),
    ),
  );
  const seconds = (performance.now() - began) / 1000;
  const rate = results.reduce((sum, { callsPerSecond }) => sum + callsPerSecond, 0);
  return { ...results[0], calls: results.length * command.iterations, callsPerSecond: rate, seconds };
}

function answer(command) {
  if (command.where === true) return measureWhere(command);
  return (command.threads ?? 1) > 1 ? onWorkers(command) : measure(command);
}

if (isMainThread) {
  process.stdout.write(`${JSON.stringify({ runtime: `node ${process.version}` })}\n`);
  for await (const line of createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    const result = await answer(command);
    process.stdout.write(`${JSON.stringify(result)}\n`);
  }
} else {
  parentPort.postMessage(await measure(workerData));
}
