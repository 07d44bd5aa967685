/** Supplies hostile modules without allocating, so that the memory of this process is that of the package alone. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensure } from './scenario.ts';

const PROCESS = fileURLToPath(new URL('./hostile-process.js', import.meta.url));
const MAX_BYTES = 40 * 2 ** 20;

/** A process that generates modules, and the buffer into which they are read. Every page of the buffer is resident. */
export class HostileSource {
  readonly #folder = mkdtempSync(join(tmpdir(), 'torture-'));
  readonly #file = join(this.#folder, 'module.wasm');
  readonly #buffer = Buffer.alloc(MAX_BYTES, 1);
  readonly #process: ChildProcess;
  readonly #ended = new AbortController();
  #last: Promise<unknown> = Promise.resolve();

  constructor(seed: number) {
    this.#process = fork(PROCESS, [String(seed), this.#file], { execArgv: [] });
    this.#process.once('exit', () => this.#ended.abort());
  }

  /** Passes the next module to `start`, which must copy its bytes before it returns, and awaits the result. */
  async submit<T>(start: (bytes: Uint8Array) => Promise<T>): Promise<T> {
    const started = this.#last.then(async () => ({ result: start(await this.#read()) }));
    this.#last = started;
    return (await started).result;
  }

  async #read(): Promise<Uint8Array> {
    this.#process.send('next');
    const [length] = await once(this.#process, 'message', { signal: this.#ended.signal });
    ensure(length <= MAX_BYTES, () => `the module has ${length} bytes`);
    const descriptor = openSync(this.#file, 'r');
    const count = readSync(descriptor, this.#buffer, 0, length, 0);
    closeSync(descriptor);
    ensure(count === length, () => `${count} of ${length} bytes were read`);
    return this.#buffer.subarray(0, length);
  }

  /** Ends the process and removes its file. */
  async close(): Promise<void> {
    const ended = once(this.#process, 'exit');
    this.#process.disconnect();
    await ended;
    rmSync(this.#folder, { recursive: true });
  }
}
