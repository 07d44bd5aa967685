// A process that measures a package on command, in the protocol of peer/README.md: a line of JSON in, a line of JSON
// out. With two threads the requests run on Workers of this process, else on its main thread.
//   node bench/host.mjs /path/to/package
import { readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { quantiles } from './statistics.mjs';
import { Bench } from './work.mjs';

/** A load balancer returns to its event loop, where what the collector freed is finalized. */
const TURN_MS = 2;

let sink = 0;

/** Makes requests for `ms` milliseconds and at least `minimum` times; returns the time of each in µs. */
async function make(request, ms, minimum) {
  let micros = new Float64Array(1024);
  let count = 0;
  const began = performance.now();
  let turned = began;
  for (;;) {
    const started = performance.now();
    sink += request(count);
    const ended = performance.now();
    if (count === micros.length) {
      const grown = new Float64Array(count * 2);
      grown.set(micros);
      micros = grown;
    }
    micros[count++] = (ended - started) * 1000;
    if (ended - began >= ms && count >= minimum) return { micros: micros.subarray(0, count), ms: ended - began };
    if (ended - turned >= TURN_MS) {
      await nextTurn();
      turned = performance.now();
    }
  }
}

function summary(threads, cpu) {
  const count = threads.reduce((sum, { micros }) => sum + micros.length, 0);
  const micros = new Float64Array(count);
  let at = 0;
  for (const thread of threads) {
    micros.set(thread.micros, at);
    at += thread.micros.length;
  }
  return {
    ...quantiles(micros),
    requests: count,
    requestsPerSecond: threads.reduce((sum, thread) => sum + (thread.micros.length * 1000) / thread.ms, 0),
    cpuUs: (cpu.user + cpu.system) / count,
    rssKiB: status('VmRSS'),
    peakRssKiB: status('VmHWM'),
  };
}

/** A field of /proc/self/status in KiB; null if it is absent. */
function status(field) {
  try {
    return Number(new RegExp(`^${field}:\\s*(\\d+)`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))[1]);
  } catch {
    return null;
  }
}

/** Resets the peak of resident memory, where the system can (Linux). */
function resetPeak() {
  try {
    writeFileSync('/proc/self/clear_refs', '5');
  } catch {}
}

async function onThisThread(bench, command) {
  const request = bench.request(command);
  await make(request, command.warmupMs, 1);
  resetPeak();
  const before = process.cpuUsage();
  const made = await make(request, command.measureMs, command.minimum);
  return summary([made], process.cpuUsage(before));
}

/** Workers that warm up, report that they are ready and wait for one start. */
async function onWorkers(workers, command) {
  const start = new Int32Array(new SharedArrayBuffer(4));
  for (const worker of workers) worker.postMessage({ command, start });
  await Promise.all(workers.map(message));
  resetPeak();
  const before = process.cpuUsage();
  const results = Promise.all(workers.map(message));
  Atomics.store(start, 0, 1);
  Atomics.notify(start, 0);
  const threads = await results;
  return summary(threads, process.cpuUsage(before));
}

function message(worker) {
  return new Promise((resolve, reject) => {
    const settle = (settled) => (value) => {
      worker.off('message', done);
      worker.off('error', failed);
      settled(value);
    };
    const done = settle(resolve);
    const failed = settle(reject);
    worker.on('message', done);
    worker.on('error', failed);
  });
}

async function serve(root) {
  const bench = await Bench.load(root);
  const workers = [];
  process.stdout.write(`${JSON.stringify({ runtime: `Node ${process.version}` })}\n`);
  for await (const line of createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    let answer;
    try {
      if (command.threads > 1) {
        while (workers.length < command.threads) {
          workers.push(new Worker(fileURLToPath(import.meta.url), { workerData: root }));
        }
        answer = await onWorkers(workers.slice(0, command.threads), command);
      } else {
        answer = await onThisThread(bench, command);
      }
    } catch (error) {
      answer = { error: error.stack };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  process.exit(0);
}

async function work(root) {
  const bench = await Bench.load(root);
  parentPort.on('message', async ({ command, start }) => {
    const request = bench.request(command);
    await make(request, command.warmupMs, 1);
    parentPort.postMessage('ready');
    Atomics.wait(start, 0, 0);
    const { micros, ms } = await make(request, command.measureMs, command.minimum);
    parentPort.postMessage({ micros: micros.slice(), ms, sink });
  });
}

await (isMainThread ? serve(process.argv[2]) : work(workerData));
