/** Child processes of the lifecycle tests: bundled from the sources, run, and judged by how they ended. */
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';

const root = fileURLToPath(new URL('../..', import.meta.url));
const addon: string = createRequire(import.meta.url)('node-gyp-build').path(root);
const OVERRIDE = 'CC_LB_RUNTIME_WASMTIME_BINARY';

/** Bundles every child in `folder` into a folder of build/ of the same name. */
export function bundleChildren(folder: string): void {
  const children = join(root, 'test', folder, 'children');
  buildSync({
    entryPoints: readdirSync(children).map((name) => join(children, name)),
    ...{ absWorkingDir: root, outdir: `build/children/${folder}`, bundle: true, logLevel: 'silent' },
    ...{ packages: 'external', platform: 'node', format: 'esm', target: 'node20' },
  });
}

/** How a child ended, and what it wrote. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a child in the root of the repository; `shell` is put in front of the command, such as `ulimit -s 1024;`. */
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

/** How a child ends that did all that it was to do. */
export const WELL = { code: 0, signal: null, stderr: '' };
