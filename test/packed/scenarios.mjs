// The scenarios of using the installed package. Each is a function of the command that starts Node.
import { spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { SMOKE } from '../../scripts/packed.mjs';

const MEASUREMENTS = 7;
const POSTJECT = fileURLToPath(import.meta.resolve('postject')).replace(/api\.js$/, 'cli.js');
const NOBODY = 65_534;
/** The documented fuse that makes a copy of Node run the program inside it. */
const SEA_FUSE = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2';
/** Address space in KiB that suffices for Node and a small pool, but not for the default pool of 20 GiB. */
const ADDRESS_SPACE_KIB = 4 * 1024 * 1024;

/** Returns the environment of a user's shell, without Rust, a local build or the variables of this package. */
export function bareEnvironment(bin) {
  const { HOME, TMPDIR, SystemRoot, TEMP, npm_config_cache, npm_config_registry } = process.env;
  const kept = { HOME, TMPDIR, SystemRoot, TEMP, npm_config_cache, npm_config_registry };
  const defined = Object.entries(kept).filter(([, value]) => value !== undefined);
  return { ...Object.fromEntries(defined), PATH: bin, PREBUILDS_ONLY: '1' };
}

function start(command, args, app, options = {}) {
  const [program, ...first] = command;
  const env = { ...bareEnvironment(dirname(program)), ...options.env };
  const { status, signal, stdout, stderr, error } = spawnSync(program, [...first, ...args], {
    ...{ encoding: 'utf8', cwd: app, timeout: 300_000 },
    ...options,
    env,
  });
  const ok = status === 0;
  return { ok, stdout: stdout ?? '', why: ok ? '' : `${error ?? signal ?? status}: ${stderr}` };
}

function versionOf(command, app) {
  return start(command, ['-p', 'process.versions.node'], app).stdout.trim();
}

/** Creates the files that scenarios run, in the folder of the installed package. */
export function prepare(app) {
  const entryPoints = [join(app, 'esm.mjs')];
  const common = { entryPoints, bundle: true, platform: 'node', target: 'node20', logLevel: 'error' };
  mkdirSync(join(app, 'bundled'), { recursive: true });
  copyFileSync(join(app, 'cache-aware.wasm'), join(app, 'bundled/cache-aware.wasm'));
  const format = 'cjs';
  buildSync({ ...common, format, external: ['cc-lb-runtime-wasmtime'], outfile: join(app, 'bundled/external.cjs') });
  const whole = { ...common, logOverride: { 'empty-import-meta': 'silent' }, external: ['prom-client'] };
  buildSync({ ...whole, format, outfile: join(app, 'bundled/whole.cjs') });
}

function permission(version) {
  const [major, minor] = version.split('.').map(Number);
  return major > 23 || (major === 23 && minor >= 5) || (major === 22 && minor >= 13)
    ? '--permission'
    : '--experimental-permission';
}

const permitted = (version) => [permission(version), '--allow-fs-read=*', '--allow-addons', '--allow-worker'];

/** The environment in which programs use these settings. */
const settings = (config) => ({ CC_LB_PACK_TEST_CONFIG: JSON.stringify(config) });

/** The scenarios by the name of their column: the arguments for Node and the environment. */
function scenarios(version, addon) {
  return {
    ESM: { args: ['esm.mjs'] },
    require: { args: ['require.cjs'] },
    Worker: { args: ['worker.mjs'] },
    'permission model': {
      args: [...permitted(version), '--allow-child-process', 'worker.mjs'],
    },
    'permission model, no child process': {
      args: [...permitted(version), 'worker.mjs'],
      options: { env: settings({ compileIn: 'thread' }) },
    },
    bundle: { args: ['bundled/external.cjs'] },
    'bundle with override': {
      args: ['bundled/whole.cjs'],
      options: { env: { CC_LB_RUNTIME_WASMTIME_BINARY: addon } },
    },
  };
}

/** Runs every scenario under one Node. Returns the cells of its row and the failures. */
export function tryNode(command, app, addon) {
  const version = versionOf(command, app);
  const row = { Node: version };
  const failures = [];
  for (const [name, { args, options }] of Object.entries(scenarios(version, addon))) {
    const { ok, why } = start(command, args, app, options);
    row[name] = ok ? 'ok' : 'FAILED';
    if (!ok) failures.push(`Node ${version}, ${name}: ${why}`);
  }
  failures.push(
    ...rejects(`Node ${version}`, command, app, /--allow-child-process/, [...permitted(version), 'esm.mjs']),
  );
  const samples = Array.from({ length: MEASUREMENTS }, () => start(command, ['measure.mjs'], app).stdout)
    .filter((text) => text !== '')
    .map((text) => JSON.parse(text));
  row['import ms'] = median(samples.map(({ importMs }) => importMs));
  row['first call ms'] = median(samples.map(({ firstCallMs }) => firstCallMs));
  return { row, failures };
}

/** Uses the package under another runtime that supports Node's addons. */
export function tryOther(name, command, app) {
  const { stdout } = start(command.slice(0, 1), ['--version'], app);
  const [version] = stdout.match(/\d+\.\d+\.\d+/) ?? ['of unknown version'];
  const programs = ['esm.mjs', 'require.cjs', 'worker.mjs', SMOKE];
  // Neither is Node, so the configuration names the Node that compiles.
  const options = { env: settings({ compileExecutable: process.execPath }) };
  const cases = programs.map((file) => [`${name} ${version}: ${file}`, { command, args: [file], options }]);
  return [...report(Object.fromEntries(cases), app), ...rejects(`${name} ${version}`, command, app, COMPILE_SETTINGS)];
}

/** The message of an admission if no compile process may be started. */
const COMPILE_SETTINGS = /set compileExecutable to a Node executable, or compileIn: 'thread'/;

/** Without a setting, an admission must fail and name it. */
function rejects(name, command, app, expected, args = ['esm.mjs'], options = {}) {
  const { ok, why } = start(command, args, app, options);
  const isReported = !ok && expected.test(why);
  console.log(`${isReported ? '✓' : '✗'} ${name}: an admission names the setting`);
  return isReported ? [] : [`${name}: ${why}`];
}

/** Under Deno without permission to load addons, the import must fail with the remedy; with it, it must succeed. */
export function tryDenoPermissions(deno, app) {
  const command = [deno, 'run', '--no-prompt', '--allow-read', '--allow-env'];
  const refused = start(command, ['esm.mjs'], app);
  const isReported = refused.why.includes('Remedy: start Deno with --allow-ffi');
  console.log(`${isReported ? '✓' : '✗'} Deno without --allow-ffi reports the remedy`);
  return [
    ...(isReported ? [] : [`Deno without --allow-ffi: ${refused.why}`]),
    ...report(
      {
        'Deno with --allow-ffi': {
          command: [...command, '--allow-ffi'],
          args: ['worker.mjs'],
          options: { env: settings({ compileIn: 'thread' }) },
        },
      },
      app,
    ),
    ...rejects('Deno without --allow-run', [...command, '--allow-ffi'], app, /--allow-run/, ['esm.mjs'], {
      env: settings({ compileExecutable: process.execPath }),
    }),
  ];
}

function median(values) {
  return Math.round(values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN);
}

/** Uses the package as confined as in a container: little address space, few permissions, no writable folder. */
export function tryConfined(command, app) {
  if (process.platform !== 'linux') return [];
  const version = versionOf(command, app);
  const limited = ['/bin/sh', '-c', `ulimit -v ${ADDRESS_SPACE_KIB}; exec "$@"`, 'sh', ...command];
  const cases = {
    [`Node ${version}: ulimit -v`]: { command: limited, args: ['confined.mjs'] },
    [`Node ${version}: no memory writable and executable`]: { command, args: ['--jitless', 'jitless.mjs'] },
  };
  const asNobody = `Node ${version}: another user, nothing writable`;
  if (process.getuid() === 0) {
    cases[asNobody] = { command, args: ['worker.mjs'], options: { uid: NOBODY, gid: NOBODY } };
  } else {
    console.warn(`SKIPPED ${asNobody}: only root can become another user`);
  }
  return report(cases, app);
}

/** Builds a single executable, with --build-sea if Node supports it, else by injecting a blob into a copy of Node. */
export function trySingleExecutable(command, app, addon) {
  const name = `Node ${versionOf(command, app)}: single executable`;
  const output = join(app, 'single');
  rmSync(output, { force: true });
  const main = 'bundled/whole.cjs';
  const config = (file) => JSON.stringify({ main, output: file, disableExperimentalSEAWarning: true });
  writeFileSync(join(app, 'sea.json'), config('single'));
  const built = start(command, ['--build-sea', 'sea.json'], app);
  if (!built.ok) {
    writeFileSync(join(app, 'sea.json'), config('single.blob'));
    const prepared = start(command, ['--experimental-sea-config', 'sea.json'], app);
    if (!prepared.ok) return [`${name}: ${built.why} ${prepared.why}`];
    copyFileSync(command[0], output);
    const blob = ['NODE_SEA_BLOB', 'single.blob', '--sentinel-fuse', SEA_FUSE];
    const injected = start([process.execPath], [POSTJECT, 'single', ...blob], app);
    if (!injected.ok) return [`${name}: ${injected.why}`];
  }
  const env = { CC_LB_RUNTIME_WASMTIME_BINARY: addon, CC_LB_PACK_TEST_PLUGINS: app };
  const options = { env: { ...env, ...settings({ compileExecutable: command[0] }) } };
  return [
    ...report({ [name]: { command: [output], args: [], options } }, app),
    ...rejects(name, [output], app, COMPILE_SETTINGS, [], { env }),
  ];
}

/**
 * Copies every snippet of the documents into `folder`, where the package is installed and nothing else but what the
 * documents say to install, and runs them in order.
 */
export function tryDocuments(command, folder, { pages, program, output, commands }) {
  const name = `Node ${versionOf(command, folder)}: the snippets of ${pages.join(', ')}`;
  const failures = [];
  if (program !== '') {
    writeFileSync(join(folder, 'program.mjs'), program);
    const { ok, stdout, why } = start(command, ['program.mjs'], folder);
    if (!ok) failures.push(why);
    else if (stdout.trimEnd() !== output.join('\n')) failures.push(`printed ${JSON.stringify(stdout)}`);
  }
  const cli = join(folder, 'node_modules/cc-lb-runtime-wasmtime/dist/cli/main.js');
  for (const [tool, ...args] of commands) {
    if (tool === 'cp') copyFileSync(join(folder, args[0]), join(folder, args[1]));
    else {
      const { ok, why } = start(command, [cli, ...args.slice(1)], folder);
      if (!ok) failures.push(`${args.join(' ')}: ${why}`);
    }
  }
  console.log(`${failures.length === 0 ? '✓' : '✗'} ${name}`);
  return failures.map((failure) => `${name}: ${failure}`);
}

/** Copies the load balancer of the examples into `folder`, where its packages are installed, compiles it and runs it. */
export function tryExample(commands, folder) {
  cpSync(join(folder, 'node_modules/cc-lb-runtime-wasmtime/examples/load-balancer'), join(folder, 'load-balancer'), {
    recursive: true,
  });
  copyFileSync(fileURLToPath(new URL('example.mjs', import.meta.url)), join(folder, 'example.mjs'));
  writeFileSync(join(folder, 'package.json'), '{"private":true,"type":"module"}');
  const compile = { command: [process.execPath], args: ['node_modules/typescript/bin/tsc', '-p', 'load-balancer'] };
  const runs = commands.map((command) => [
    `Node ${versionOf(command, folder)}: the load balancer of the examples`,
    { command, args: ['example.mjs'] },
  ]);
  return report({ 'the load balancer of the examples compiles': compile, ...Object.fromEntries(runs) }, folder);
}

function report(cases, app) {
  return Object.entries(cases).flatMap(([name, { command, args, options }]) => {
    const { ok, why } = start(command, args, app, options);
    console.log(`${ok ? '✓' : '✗'} ${name}`);
    return ok ? [] : [`${name}: ${why}`];
  });
}
