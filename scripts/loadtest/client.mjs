// A load generator with raw sockets: each connection sends the same request after each complete answer, or at a fixed
// rate. It uses a few microseconds per request, so that the servers get the CPU of a small machine.
import { connect } from 'node:net';

const HEADER_END = Buffer.from('\r\n\r\n');
const LAST_CHUNK = Buffer.from('0\r\n\r\n');

/**
 * Sends requests for `durationMs` over `connections` sockets; with `rate`, at that total rate per second, each due at a
 * fixed time. The latency of a request that waits for the previous answer of its connection is measured from the time at
 * which it is due, that of any other request from the time at which it is sent: timers have a resolution of 1 ms, and
 * their lateness is not the server's.
 * @returns {Promise<{requests: number, failed: number, seconds: number, latenciesMs: Float64Array}>} sorted latencies
 */
export async function load({ url, path, headers, body, connections, durationMs, rate }) {
  const { hostname, port } = new URL(url);
  const bytes = requestBytes(`${hostname}:${port}`, path, headers, body);
  const run = { failed: 0, latencies: [], until: performance.now() + durationMs };
  const began = performance.now();
  const gapMs = rate === undefined ? 0 : (1_000 * connections) / rate;
  const sockets = Array.from({ length: connections }, (_, i) =>
    oneConnection({ hostname, port, bytes, run, gapMs, firstMs: began + (gapMs * i) / connections }),
  );
  await Promise.all(sockets);
  const latenciesMs = Float64Array.from(run.latencies).sort();
  return {
    requests: latenciesMs.length,
    failed: run.failed,
    seconds: (performance.now() - began) / 1_000,
    latenciesMs,
  };
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

function oneConnection({ hostname, port, bytes, run, gapMs, firstMs }) {
  return new Promise((resolve) => {
    let due = firstMs;
    /** The start of the latency of the running request. */
    let from = firstMs;
    let answer = new AnswerReader();
    let timer;
    let socket = open();

    function open() {
      const opened = connect({ host: hostname, port: Number(port), noDelay: true });
      opened.on('connect', next);
      opened.on('data', (chunk) => {
        if (!answer.feed(chunk)) return;
        if (answer.status === 200) run.latencies.push(performance.now() - from);
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
      clearTimeout(timer);
      answer = new AnswerReader();
      const last = socket;
      socket = undefined;
      last.destroy();
      if (performance.now() < run.until) timer = setTimeout(() => (socket = open()), 5);
      else resolve();
    }

    function next() {
      const now = performance.now();
      if (now >= run.until) {
        socket.end();
        socket.destroy();
        resolve();
        return;
      }
      due = gapMs === 0 ? now : Math.max(due + gapMs, firstMs);
      from = due;
      if (due > now) timer = setTimeout(send, due - now);
      else socket.write(bytes);
    }

    function send() {
      from = performance.now();
      socket?.write(bytes);
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
