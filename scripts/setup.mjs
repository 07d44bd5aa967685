// Prepares a checkout: dependencies, addon, TypeScript. Uses only Node's built-in modules, because nothing
// is installed yet. Steps that are up to date are skipped.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ask, must } from './commands.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const STAMPS = join(root, 'build', 'stamps');
const MIN_NODE = [20, 19];
const MIN_RUST = [1, 95];

/**
 * Brings dependencies, addon and dist up to date. `profile` is the cargo profile of the addon; `dist` is that of
 * published binaries. Exits with a message when a tool is missing.
 */
export function setUp(profile = 'release') {
  checkNode();
  step('dependencies', ['package.json', 'package-lock.json'], 'node_modules/.package-lock.json', () =>
    npm(['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']),
  );
  const native = [
    'native/Cargo.toml',
    'native/Cargo.lock',
    'native/engine/Cargo.toml',
    'native/engine/src',
    'native/binding',
    'scripts/build-native.mjs',
  ];
  const addon = 'build/Release/cc-lb-runtime-wasmtime.node';
  const name = `addon (profile ${profile}, several minutes the first time)`;
  step(name, native, addon, () => {
    checkRust();
    must(process.execPath, ['scripts/build-native.mjs', '--profile', profile]);
  });
  const typescript = ['src', 'tsconfig.json', 'tsconfig.build.json', 'scripts/build-dist.mjs', 'package-lock.json'];
  step('TypeScript', typescript, 'dist/index.js', () => must(process.execPath, ['scripts/build-dist.mjs']));
}

/** Runs `make` unless `output` exists and was built from the same inputs. */
export function step(name, inputs, output, make) {
  const stamp = join(STAMPS, name.split(' ')[0]);
  const now = `${name} ${digest(inputs)}`;
  if (existsSync(join(root, output)) && existsSync(stamp) && readFileSync(stamp, 'utf8') === now) return;
  console.log(`• ${name}`);
  make();
  mkdirSync(STAMPS, { recursive: true });
  // The digest is computed after the build, because the build may write one of its inputs (generated types).
  writeFileSync(stamp, `${name} ${digest(inputs)}`);
}

function digest(inputs) {
  const hash = createHash('sha256').update(process.version);
  const visit = (path) => {
    const entry = readdirSync(path, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const { name, parentPath } of entry.filter((file) => file.isFile())) add(join(parentPath, name));
    for (const { name, parentPath } of entry.filter((folder) => folder.isDirectory())) visit(join(parentPath, name));
  };
  const add = (path) => hash.update(path.slice(root.length)).update('\0').update(readFileSync(path)).update('\0');
  for (const input of inputs) {
    const path = join(root, input);
    if (/\.[a-z]+$/.test(input)) existsSync(path) && add(path);
    else visit(path);
  }
  return hash.digest('hex');
}

/** Runs npm in a folder: the npm that started this script, if any, because Windows can start it only through Node. */
export function npm(args, cwd = root) {
  const script = process.env.npm_execpath;
  if (script?.endsWith('.js')) must(process.execPath, [script, ...args], { cwd });
  else must('npm', args, { cwd });
}

function checkNode() {
  if (older(process.versions.node, MIN_NODE)) {
    fail(`Node ${MIN_NODE.join('.')} or later is needed, this is ${process.version}.`);
  }
}

function checkRust() {
  const found = /\d+\.\d+\.\d+/.exec(ask('cargo', '--version') ?? '')?.[0];
  if (found === undefined) {
    fail(
      `Rust is missing: the addon is built from source with cargo ${MIN_RUST.join('.')} or later (https://rustup.rs).`,
    );
  }
  if (older(found, MIN_RUST)) fail(`cargo ${MIN_RUST.join('.')} or later is needed, this is ${found}.`);
}

function older(version, [major, minor]) {
  const [foundMajor, foundMinor] = version.split('.').map(Number);
  return foundMajor < major || (foundMajor === major && foundMinor < minor);
}

function fail(message) {
  console.error(message);
  process.exit(1);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) setUp();
