/** The running program that all parts of the demo use. */
import { type ChildProcess, spawn } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { request } from 'undici';
import type { Status } from '../status.ts';
import { configOf, FOLDER_PLUGINS } from './config.ts';
import type { Upstream } from './upstream.ts';

/** A line of the program's log. */
export interface LogLine {
  readonly msg: string;
  readonly reason?: string;
  readonly url?: string;
  readonly admin?: string;
}

/** The token for changes through the admin server. */
export const TOKEN = 'token-of-the-demo';

/** The program with two workers, its plugin folder and upstreams. */
export class Stage {
  readonly upstreams: readonly Upstream[];
  /** The log of the program. */
  readonly log: LogLine[] = [];
  url = '';
  admin = '';
  readonly #guests: string;
  readonly #folder = mkdtempSync(join(tmpdir(), 'demo-'));
  #program: ChildProcess | undefined;

  constructor(upstreams: readonly Upstream[], guests: string) {
    this.upstreams = upstreams;
    this.#guests = guests;
  }

  /** Starts the program; rejects if it ends before it serves. */
  async start(): Promise<void> {
    mkdirSync(join(this.#folder, 'plugins'));
    for (const { file, guest, options } of FOLDER_PLUGINS) {
      if (options !== undefined) writeFileSync(join(this.#folder, 'plugins', `${file}.json`), JSON.stringify(options));
      this.put(file, guest);
    }
    const config = join(this.#folder, 'config.json');
    writeFileSync(config, JSON.stringify(configOf(this.upstreams, this.#guests)));
    const keys = this.upstreams.map(({ name }) => [`KEY_FOR_${name.toUpperCase()}`, `key-for-${name}`]);
    const program = spawn(process.execPath, [fileURLToPath(new URL('../main.js', import.meta.url)), config], {
      env: { ...process.env, ...Object.fromEntries(keys), CC_LB_ADMIN_TOKEN: TOKEN },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#program = program;
    let rest = '';
    program.stdout!.on('data', (chunk) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop()!;
      for (const line of lines) this.log.push(JSON.parse(line));
    });
    const started = await this.until(() => this.log.find(({ msg }) => msg === 'started'));
    this.url = started.url!;
    this.admin = started.admin!;
  }

  /** Copies a guest of the tests to the plugin folder, as a new version of a plugin. */
  put(file: string, guest: string): void {
    copyFileSync(join(this.#guests, `${guest}.wasm`), join(this.#folder, 'plugins', `${file}.wasm`));
  }

  /** Writes bytes to the plugin folder. */
  putBytes(file: string, bytes: Uint8Array): void {
    writeFileSync(join(this.#folder, 'plugins', `${file}.wasm`), bytes);
  }

  async status(): Promise<Status> {
    return (await (await request(`${this.admin}/status`)).body.json()) as Status;
  }

  async metrics(): Promise<string> {
    return (await request(`${this.admin}/metrics`)).body.text();
  }

  /** Requests a change; returns the status. */
  async change(operation: string, argument: object): Promise<number> {
    const headers = { authorization: `Bearer ${TOKEN}` };
    const answer = await request(`${this.admin}${operation}`, {
      method: 'POST',
      headers,
      body: JSON.stringify(argument),
    });
    await answer.body.dump();
    return answer.statusCode;
  }

  /** Waits until `look` returns a value. */
  async until<T>(look: () => T | undefined | false | Promise<T | undefined | false>): Promise<T> {
    for (;;) {
      const found = await look();
      if (found !== undefined && found !== false) return found;
      if (this.#program?.exitCode !== null) throw new Error('the program has ended');
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Shuts the program down as an operator does; returns its exit code. */
  async stop(): Promise<number | null> {
    const program = this.#program;
    const ended = new Promise<number | null>((resolve) => {
      if (program === undefined || program.exitCode !== null) resolve(program?.exitCode ?? null);
      else program.once('exit', resolve);
    });
    program?.kill('SIGTERM');
    const code = await ended;
    rmSync(this.#folder, { recursive: true });
    return code;
  }
}
