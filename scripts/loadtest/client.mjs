// A load generator with raw sockets: each connection sends the same request after each complete answer, or at a fixed
// rate. It uses a few microseconds per request, so that the servers get the CPU of a small machine.
import { once } from 'node:events';
import { connect } from 'node:net';
import { Worker } from 'node:worker_threads';

const HEADER_END = Buffer.from('\r\n\r\n');
const LAST_CHUNK = Buffer.from('0\r\n\r\n');

/**
 * Sends requests for `durationMs` over `connections` sockets; with `rate`, at that total rate per second, at even
 * intervals. The latency is measured from the time at which a request is due, also if no connection is free then.
 * @returns {Promise<{requests: number, failed: number, seconds: number, latenciesMs: Float64Array}>} sorted latencies
 */
export async function load({ url, path, headers, body, connections, durationMs, rate }) {
  const { hostname, port } = new URL(url);
  const bytes = requestBytes(`${hostname}:${port}`, path, headers, body);
  const began = performance.now();
  const run = { failed: 0, latencies: [], until: began + durationMs, pace: rate && new Pace() };
  const sockets = Array.from({ length: connections }, () => oneConnection({ hostname, port, bytes, run }));
  if (rate !== undefined) await run.pace.end({ gapMs: 1_000 / rate, durationMs });
  await Promise.all(sockets);
  const latenciesMs = Float64Array.from(run.latencies).sort();
  return {
    requests: latenciesMs.length,
    failed: run.failed,
    seconds: (performance.now() - began) / 1_000,
    latenciesMs,
  };
}

/** Distributes due requests to free connections. */
class Pace {
  /** The functions that send on a free connection. */
  #free = [];
  /** The times of due requests for which no connection is free. */
  #due = [];

  /** Calls `send` with the time of the next due request; at the end of the run, with undefined. */
  take(send) {
    if (this.#due.length > 0) send(this.#due.shift());
    else this.#free.push(send);
  }

  /** Resolves after the last request was due. */
  async end(workerData) {
    const pacer = new Worker(new URL('pacer.mjs', import.meta.url), { workerData });
    pacer.on('message', (time) => {
      const due = time - performance.timeOrigin;
      const send = this.#free.shift();
      if (send === undefined) this.#due.push(due);
      else send(due);
    });
    await once(pacer, 'exit');
    this.#due.length = 0;
    for (const send of this.#free.splice(0)) send(undefined);
  }
}

/** Returns the quantile `share` of sorted values. */
export function quantile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

function requestBytes(host, path, headers, body) {
  const lines = Object.entries({ host, 'content-type': 'application/json', ...headers });
  const head = `POST ${path} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}`;
  return Buffer.concat([Buffer.from(`${head}content-length: ${body.length}\r\n\r\n`), body]);
}

function oneConnection({ hostname, port, bytes, run }) {
  return new Promise((resolve) => {
    let due;
    let answer = new AnswerReader();
    let socket = open();

    function open() {
      const opened = connect({ host: hostname, port: Number(port), noDelay: true });
      opened.on('connect', next);
      opened.on('data', (chunk) => {
        if (!answer.feed(chunk)) return;
        if (answer.status === 200) run.latencies.push(performance.now() - due);
        else run.failed++;
        const { keepsAlive } = answer;
        answer = new AnswerReader();
        if (keepsAlive) next();
        else reopen();
      });
      opened.on('error', () => {});
      opened.on('close', () => {
        if (opened !== socket) return;
        if (performance.now() < run.until) {
          run.failed++;
          reopen();
        } else resolve();
      });
      return opened;
    }

    function reopen() {
      answer = new AnswerReader();
      const last = socket;
      socket = undefined;
      last.destroy();
      if (performance.now() < run.until) setTimeout(() => (socket = open()), 5);
      else resolve();
    }

    function next() {
      if (performance.now() >= run.until) send(undefined);
      else if (run.pace === undefined) send(performance.now());
      else run.pace.take(send);
    }

    /** Sends the request that is due at `time`; without one, the run has ended. */
    function send(time) {
      due = time;
      if (time !== undefined) {
        socket?.write(bytes);
        return;
      }
      socket?.destroy();
      resolve();
    }
  });
}

/** Finds the end of one answer, by its content-length or its last chunk. */
class AnswerReader {
  status = 0;
  keepsAlive = true;
  #head = null;
  #remaining = -1;
  #isChunked = false;
  #tail = Buffer.alloc(0);

  /** Parses the next bytes; returns true when they complete the answer. */
  feed(chunk) {
    let body = chunk;
    if (this.#remaining < 0) {
      const all = this.#head === null ? chunk : Buffer.concat([this.#head, chunk]);
      const end = all.indexOf(HEADER_END);
      if (end < 0) {
        this.#head = all;
        return false;
      }
      const head = all.latin1Slice(0, end).toLowerCase();
      this.status = Number(head.slice(9, 12));
      this.keepsAlive = !head.includes('connection: close');
      const length = head.indexOf('content-length: ');
      this.#isChunked = length < 0;
      this.#remaining = length < 0 ? 0 : Number.parseInt(head.slice(length + 16), 10);
      body = all.subarray(end + HEADER_END.length);
    }
    if (!this.#isChunked) {
      this.#remaining -= body.length;
      return this.#remaining <= 0;
    }
    this.#tail = body.length >= LAST_CHUNK.length ? body.subarray(-LAST_CHUNK.length) : last(this.#tail, body);
    return this.#tail.equals(LAST_CHUNK);
  }
}

function last(tail, body) {
  return Buffer.concat([tail, body]).subarray(-LAST_CHUNK.length);
}
