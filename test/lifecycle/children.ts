/** Bundles child processes from the sources, runs them and returns how they ended. */
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';

const root = fileURLToPath(new URL('../..', import.meta.url));
const addon: string = createRequire(import.meta.url)('node-gyp-build').path(root);
const OVERRIDE = 'CC_LB_RUNTIME_WASMTIME_BINARY';

/** Bundles the children of test/<folder> into build/children/<folder>. */
export function bundleChildren(folder: string): void {
  const children = join(root, 'test', folder, 'children');
  buildSync({
    entryPoints: readdirSync(children).map((name) => join(children, name)),
    ...{ absWorkingDir: root, outdir: `build/children/${folder}`, bundle: true, logLevel: 'silent' },
    ...{ packages: 'external', platform: 'node', format: 'esm', target: 'node20' },
  });
}

/** How a child ended, and its output. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a child in the root of the repository. `shell` is a prefix of the command, such as `ulimit -s 1024;`. */
export function run(folder: string, name: string, args: readonly string[] = [], shell = ''): Promise<Ended> {
  const node = [process.execPath, `build/children/${folder}/${name}.js`, ...args];
  const [program = '', ...rest] = shell === '' ? node : ['bash', '-c', `${shell} exec "$0" "$@"`, ...node];
  const child = spawn(program, rest, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      [OVERRIDE]: process.env[OVERRIDE] || addon,
    },
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (data) => {
    stdout += data;
  });
  child.stderr.on('data', (data) => {
    stderr += data;
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

/** The end of a successful child. */
export const SUCCESS = { code: 0, signal: null, stderr: '' };
