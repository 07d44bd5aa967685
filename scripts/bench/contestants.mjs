// The processes that take turns, and how to ask one of them for a measurement.
import { spawn, spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Builds the published Rust crate's host; minutes the first time. */
export function buildPeer() {
  const { status } = spawnSync(
    'cargo',
    [
      ...['build', '--release', '--locked', '--ignore-rust-version'],
      ...['--manifest-path', 'test/parity/Cargo.toml', '-p', 'bench-peer'],
    ],
    { cwd: root, stdio: 'inherit', env: { ...process.env, CC_LB_SKIP_WASM_FIXTURE_BUILD: '1' } },
  );
  if (status !== 0) throw new Error('the Rust peer does not build');
}

class Contestant {
  #process;
  #lines;

  constructor(command, args) {
    this.#process = spawn(command, args, { cwd: root, stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]();
  }

  async #line() {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error('a contestant ended in the middle of a run');
    return JSON.parse(value);
  }

  /** What it says of itself. Called once, first. */
  hello() {
    return this.#line();
  }

  async measure(command) {
    this.#process.stdin.write(`${JSON.stringify(command)}\n`);
    const result = await this.#line();
    if (result.error !== undefined) throw new Error(`${JSON.stringify(command)}: ${result.error}`);
    return result;
  }

  close() {
    this.#process.stdin.end();
  }
}

/** A fresh process each: the Rust original, this package, V8 with a fresh instance. */
export async function contestants() {
  const all = {
    rust: new Contestant('test/parity/target/release/bench-peer', ['test/plugins/wasm']),
    ours: new Contestant(process.execPath, ['scripts/bench/host.mjs']),
    v8: new Contestant(process.execPath, ['scripts/bench/host.mjs']),
  };
  for (const contestant of Object.values(all)) await contestant.hello();
  return all;
}
