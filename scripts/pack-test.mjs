// npm run test:pack: checks and uses the package as `npm install` installs it.
//
// Packs the package, checks the tarball, installs it into an empty folder without install scripts, without Rust on PATH
// and without a local build, and uses it under each supported release line of Node. Prints a table; exits with 1 on failure.
//
//   --no-limits       prints the times without checking them, for a busy machine
//   --all-platforms   requires the binary of every platform in the tarball, not only of this machine
//   --keep <folder>   copies the tarball to this folder
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import {
  bareEnvironment,
  prepare,
  tryConfined,
  tryDenoPermissions,
  tryDocuments,
  tryExample,
  tryNode,
  tryOther,
  trySingleExecutable,
} from '../test/packed/scenarios.mjs';
import { checkDeclarations, checkTarball } from '../test/packed/tarball.mjs';
import { must } from './commands.mjs';
import { packagesOf, walks } from './documents.mjs';
import { addSmokeTest, npm, pack } from './packed.mjs';
import { hostTarget, prebuildPath, TARGETS } from './prebuild-targets.mjs';
import { bun, deno, node } from './prebuild-tools.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const LINES = ['20.19.0', '20', '22', '24'];
const LIMITS = { installMs: 5_000, importMs: 30, firstCallMs: 150 };

const { values } = parseArgs({
  options: {
    'no-limits': { type: 'boolean', default: false },
    'all-platforms': { type: 'boolean', default: false },
    keep: { type: 'string' },
  },
});
const failures = [];
const work = mkdtempSync(join(tmpdir(), 'cc-lb-pack-'));
// A user with fewer permissions must be able to read it.
chmodSync(work, 0o755);
const bin = join(work, 'bin');
mkdirSync(bin);
symlinkSync(process.execPath, join(bin, process.platform === 'win32' ? 'node.exe' : 'node'));
try {
  buildMissingParts();
  const tarball = pack(work);
  failures.push(...checkTarball(tarball, values['all-platforms'] ? TARGETS : [hostTarget()]));
  const app = join(work, 'app');
  install(tarball.path, app);
  failures.push(...checkDeclarations(app));
  use(app);
  readDocuments(tarball.path);
  useExample(tarball.path);
  if (values.keep !== undefined) keep(tarball, values.keep);
} finally {
  rmSync(work, { recursive: true });
}
for (const failure of failures) console.error(`✗ ${failure}`);
const total = failures.length;
console.log(total === 0 ? '\nThe package is ready to publish.' : `\n${total} ${total === 1 ? 'failure' : 'failures'}.`);
process.exit(total === 0 ? 0 : 1);

function buildMissingParts() {
  must(process.execPath, ['scripts/build-dist.mjs']);
  const target = hostTarget();
  if (existsSync(join(root, prebuildPath(target)))) return;
  must(process.execPath, ['scripts/prebuild.mjs', target.name]);
}

function keep({ path, filename }, folder) {
  mkdirSync(folder, { recursive: true });
  copyFileSync(path, join(folder, filename));
}

/** Installs packages into a new folder; gives the milliseconds that npm took. */
function installInto(folder, packages, source) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  writeFileSync(join(folder, 'package.json'), '{"private":true}');
  const options = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', source];
  const started = performance.now();
  must(process.execPath, [npm(), 'install', ...packages, ...options], { cwd: folder, env: bareEnvironment(bin) });
  return performance.now() - started;
}

/** Installs into `app` twice. Measures the second installation, which uses npm's cache. */
function install(tarball, app) {
  for (const source of ['--prefer-offline', '--offline']) {
    const elapsed = installInto(app, [tarball], source);
    if (source === '--offline') limit('install from a file', elapsed, LIMITS.installMs);
  }
  const programs = join(root, 'test/packed');
  for (const file of readdirSync(programs)) {
    if (!['tarball.mjs', 'scenarios.mjs'].includes(file)) copyFileSync(join(programs, file), join(app, file));
  }
  copyFileSync(join(root, 'test/plugins/wasm/cache-aware.wasm'), join(app, 'cache-aware.wasm'));
}

function use(app) {
  const addon = join(app, 'node_modules/cc-lb-runtime-wasmtime', prebuildPath(hostTarget()));
  prepare(app);
  addSmokeTest(app);
  const nodes = [...LINES, newest()].map((range) => [node(range)]);
  const rows = nodes.map((command) => {
    const { row, failures: failed } = tryNode(command, app, addon);
    failures.push(...failed);
    return row;
  });
  if (hostTarget().name === 'linux-x64-glibc') {
    failures.push(...tryOther('Bun', [bun()], app), ...tryOther('Deno', [deno(), 'run', '--allow-all'], app));
    failures.push(...tryDenoPermissions(deno(), app));
  }
  console.table(Object.fromEntries(rows.map(({ Node, ...cells }) => [`Node ${Node}`, cells])));
  for (const row of rows) {
    limit(`Node ${row.Node}: import`, row['import ms'], LIMITS.importMs);
    limit(`Node ${row.Node}: first call after import`, row['first call ms'], LIMITS.firstCallMs);
  }
  failures.push(...nodes.flatMap((command) => tryConfined(command, app)));
  failures.push(...nodes.flatMap((command) => trySingleExecutable(command, app, addon)));
}

/** Does what a reader of the documents does, in empty folders. */
function readDocuments(tarball) {
  for (const [index, walk] of walks().entries()) {
    const folder = join(work, `documents-${index}`);
    installInto(folder, [tarball, ...walk.packages], '--prefer-offline');
    for (const range of [...LINES, newest()]) failures.push(...tryDocuments([node(range)], folder, walk));
  }
}

/** Copies the load balancer from the installed package into a project and runs it, as its README describes. */
function useExample(tarball) {
  const folder = join(work, 'example');
  installInto(folder, [tarball, ...packagesOf('examples/load-balancer/README.md')], '--prefer-offline');
  failures.push(
    ...tryExample(
      [...LINES, newest()].map((range) => [node(range)]),
      folder,
    ),
  );
}

/** Returns the newest version of Node on npm. */
function newest() {
  const args = [npm(), 'view', 'node', 'version', '--loglevel=error'];
  return must(process.execPath, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  }).stdout.trim();
}

function limit(what, elapsed, max) {
  const kept = elapsed <= max;
  console.log(`${kept ? '✓' : '✗'} ${what}: ${Math.round(elapsed)} ms (limit ${max} ms)`);
  if (!kept && !values['no-limits']) failures.push(`${what}: ${Math.round(elapsed)} ms`);
}
