// The measured processes, and the requests for measurements.
import { spawn, spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { MODES } from './columns.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const host = fileURLToPath(new URL('host.mjs', import.meta.url));
/** Work that the Rust crate 0.1.1 does not support: its shape plugins have no transforms. */
const NOT_IN_RUST = ['event', 'stream'];

const rust = (strategy) => ({
  strategy,
  program: () => ['test/parity/target/dist/bench-peer', ['test/plugins/wasm', 'bench/guests']],
  // The Rust crate's allocator reuses the memory of answers by itself.
  workOf: (work) => (work === 'reused' ? 'request' : work),
  // Two processes are compared with two threads of the same package; the Rust crate's are not needed for a ratio.
  measures: (work, mode) => !NOT_IN_RUST.includes(work) && mode !== 'processes',
});
const node = (strategy, path, measures = () => true) => ({
  strategy,
  program: (options) => [process.execPath, [host, resolve(root, path(options))]],
  workOf: (work) => work,
  measures,
});
/** Earlier builds cannot reuse the memory of answers. */
const isInBaseline = (work) => work !== 'reused';

/** The contestants. `baseline` is another build of this package, by path. */
const KNOWN = {
  rust: rust('on-demand'),
  'rust-pooling': rust('pooling'),
  package: node('on-demand', ({ subject }) => subject),
  'package-pooling': node('pooling', ({ subject }) => subject),
  baseline: node('on-demand', ({ baseline }) => baseline, isInBaseline),
  'baseline-pooling': node('pooling', ({ baseline }) => baseline, isInBaseline),
};
export const CONTESTANT_NAMES = Object.keys(KNOWN);

/** Builds the host of the published Rust crate with the profile of this package's binaries, which takes minutes. */
export function buildPeer() {
  const manifest = ['--manifest-path', 'test/parity/Cargo.toml', '-p', 'bench-peer'];
  const { status } = spawnSync(
    'cargo',
    ['build', '--profile', 'dist', '--locked', '--ignore-rust-version', ...manifest],
    {
      cwd: root,
      stdio: 'inherit',
      env: { ...process.env, CC_LB_SKIP_WASM_FIXTURE_BUILD: '1' },
    },
  );
  if (status !== 0) throw new Error('the Rust peer does not build');
}

class HostProcess {
  #child;
  #lines;

  constructor([command, args]) {
    this.#child = spawn(command, args, { cwd: root, stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  async receive() {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error('a contestant ended during a measurement');
    return JSON.parse(value);
  }

  async measure(command) {
    this.#child.stdin.write(`${JSON.stringify(command)}\n`);
    const result = await this.receive();
    if (result.error !== undefined) throw new Error(`${JSON.stringify(command)}: ${result.error}`);
    return result;
  }

  close() {
    this.#child.stdin.end();
  }
}

/** One contestant, with fresh processes for a group of columns. */
export class Contestant {
  #kind;
  #options;
  #processes = [];

  constructor(name, options) {
    this.name = name;
    this.#kind = KNOWN[name];
    this.#options = options;
  }

  measures(column, mode) {
    return this.#kind.measures(column.command.work, mode);
  }

  /** Measures a column once; of two processes, which run at the same time, the rates and memory are summed. */
  async measure(column, mode, times) {
    const { threads, processes } = MODES[mode];
    const { strategy, workOf } = this.#kind;
    const command = { ...column.command, ...times, threads, strategy, work: workOf(column.command.work) };
    while (this.#processes.length < processes) {
      const started = new HostProcess(this.#kind.program(this.#options));
      await started.receive();
      this.#processes.push(started);
    }
    const results = await Promise.all(this.#processes.slice(0, processes).map((one) => one.measure(command)));
    return results.length === 1 ? results[0] : together(results);
  }

  close() {
    for (const one of this.#processes) one.close();
    this.#processes = [];
  }
}

function together(results) {
  const sum = (name) => results.reduce((total, result) => total + result[name], 0);
  const mean = (name) => sum(name) / results.length;
  const means = Object.fromEntries(['p50Us', 'p90Us', 'p99Us', 'maxUs', 'cpuUs'].map((name) => [name, mean(name)]));
  const sums = ['requests', 'requestsPerSecond', 'rssKiB', 'peakRssKiB'].map((name) => [name, sum(name)]);
  return { ...means, ...Object.fromEntries(sums) };
}
