/** The load balancer as a program of several processes, for tests that start it. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Agent, request } from 'undici';
import { expect, onTestFinished } from 'vitest';
import { listening } from '../../examples/load-balancer/listening.ts';
import type { Status } from '../../examples/load-balancer/status.ts';
import { until } from './support.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** The folder of the guests. */
export const GUESTS = join(root, 'test', 'plugins', 'wasm');
/** The token of programs that tests start. */
export const TOKEN = 'token-of-the-tests';

/** Compiles the program into a separate folder for each test file. Returns the folder. */
export function compileProgram(name: string): string {
  const output = join(root, 'build', `load-balancer-${name}`);
  const compiler = ['node_modules/typescript/bin/tsc', '-p', 'examples/load-balancer', '--outDir', output];
  const compiled = spawnSync(process.execPath, compiler, { cwd: root, encoding: 'utf8' });
  expect(compiled).toMatchObject({ status: 0, stdout: '' });
  return output;
}

/** A folder that is removed when the test ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'balancer-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** An address that no server uses. */
export async function freeAddress(): Promise<{ host: string; port: number }> {
  const server = createServer();
  const { port } = new URL(await listening(server));
  server.close();
  return { host: '127.0.0.1', port: Number(port) };
}

/** A config for upstreams of tests, with principal and key `me`. */
export function configFor(upstreams: readonly { url: string }[], rest: object = {}): object {
  const any = { host: '127.0.0.1', port: 0 };
  return {
    listen: any,
    admin: { ...any, tokenVariable: 'CC_LB_ADMIN_TOKEN' },
    workers: 2,
    graceMs: 5_000,
    upstreams: upstreams.map(({ url }, i) => ({
      id: `00000000-0000-4000-8000-00000000000${i}`,
      name: `upstream-${i}`,
      baseUrl: url,
    })),
    principals: [{ id: 'me', kind: 'api_key', keySha256: createHash('sha256').update('me').digest('hex'), claims: {} }],
    plugins: [],
    ...rest,
  };
}

/** A running program. */
export interface Program {
  readonly child: ChildProcess;
  readonly url: string;
  readonly admin: string;
  /** The lines of its log. */
  readonly log: readonly Record<string, unknown>[];
  /** Its complete output. */
  output(): string;
  status(): Promise<Status>;
  /** Requests a change; returns status and body. */
  change(operation: string, argument: object, token?: string): Promise<{ status: number; body: unknown }>;
}

/** Starts the program of `compileProgram` with a config file; it is killed when the test ends. */
export async function startProgram(compiled: string, file: string, content?: object): Promise<Program> {
  if (content !== undefined) writeFileSync(file, JSON.stringify(content));
  const env = { ...process.env, ANTHROPIC_API_KEY: 'theirs', CC_LB_ADMIN_TOKEN: TOKEN };
  const child = spawn(process.execPath, [join(compiled, 'main.js'), file], { cwd: root, env });
  onTestFinished(() => void child.kill('SIGKILL'));
  const log: Record<string, unknown>[] = [];
  let text = '';
  let rest = '';
  child.stderr.on('data', (chunk) => (text += chunk));
  child.stdout.on('data', (chunk) => {
    text += chunk;
    const lines = (rest + chunk).split('\n');
    rest = lines.pop()!;
    for (const line of lines) log.push(JSON.parse(line));
  });
  const started = () => log.find(({ msg }) => msg === 'started');
  await until(() => started() !== undefined || child.exitCode !== null);
  expect(child.exitCode, text).toBeNull();
  const { url, admin } = started() as { url: string; admin: string };
  return {
    child,
    url,
    admin,
    log,
    output: () => text,
    // On a connection of its own: the server may close an idle one at the moment in which it is used again.
    status: async () => (await (await request(`${admin}/status`, { reset: true })).body.json()) as Status,
    async change(operation, argument, token = TOKEN) {
      const headers = { authorization: `Bearer ${token}` };
      const answer = await request(`${admin}${operation}`, {
        method: 'POST',
        headers,
        body: JSON.stringify(argument),
        reset: true,
      });
      return { status: answer.statusCode, body: await answer.body.json() };
    },
  };
}

/** Starts the program with a plugin folder of copies of guests. */
export async function startWithFolder(
  compiled: string,
  server: { url: string },
  plugins: Readonly<Record<string, string>>,
  rest: object = {},
) {
  const folder = temporaryFolder();
  const path = join(folder, 'plugins');
  mkdirSync(path);
  const put = (name: string, guest: string) => copyFileSync(join(GUESTS, `${guest}.wasm`), join(path, `${name}.wasm`));
  for (const [name, guest] of Object.entries(plugins)) put(name, guest);
  const content = { ...configFor([server]), pluginFolder: { path, settleMs: 20 }, ...rest };
  const started = await startProgram(compiled, join(folder, 'config.json'), content);
  const write = (file: string, bytes: string | Buffer) => writeFileSync(join(path, file), bytes);
  return { ...started, put, write };
}

/** Sends a request on a new connection, which node:cluster assigns to the next worker. */
export async function postTo({ url }: Pick<Program, 'url'>, body = '{}') {
  const dispatcher = new Agent({ pipelining: 0 });
  const headers = { 'x-api-key': 'me' };
  const answer = await request(`${url}/v1/messages`, { method: 'POST', headers, body, dispatcher });
  return { status: answer.statusCode, text: await answer.body.text() };
}
