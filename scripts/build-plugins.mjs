// Builds the guests of test/plugins/ into test/plugins/wasm/, and two of them with other build settings into bench/guests/.
//
//   node scripts/build-plugins.mjs            build everything
//   node scripts/build-plugins.mjs --check    build, change nothing, and exit with 1 if a committed file differs
//
// The wasm32 target comes from rustup, or from a compiler with the sources of the standard library (Debian:
// rustc-web and rust-web-src). The bytes depend on the compiler, which test/plugins/README.md names, and on the path of
// the checkout.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ask, must } from './commands.mjs';

const TARGET = 'wasm32-unknown-unknown';
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const plugins = join(root, 'test', 'plugins');
const out = join(plugins, 'wasm');
/** The benchmark's guests, each linked with one setting changed. */
const variants = {
  workspace: 'pdk-0.1.0',
  crates: ['cache-aware', 'echo'],
  out: join(root, 'bench', 'guests'),
  settings: {
    'default-profile': {
      env: {
        CARGO_PROFILE_RELEASE_LTO: 'false',
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS: '16',
        CARGO_PROFILE_RELEASE_STRIP: 'debuginfo',
      },
    },
    'initial-memory': { flags: ['-Clink-arg=--initial-memory=67108864'] },
    maximum: { flags: ['-Clink-arg=--max-memory=134217728'] },
    simd: { flags: ['-Ctarget-feature=+simd128'] },
    'static-data': { features: ['static-data'] },
  },
};
const { check } = parseArgs({ options: { check: { type: 'boolean', default: false } } }).values;

/** Returns every program on PATH whose name matches, without duplicates. */
function programs(pattern) {
  const found = new Map();
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    if (!existsSync(folder)) continue;
    for (const name of readdirSync(folder)) {
      if (!pattern.test(name)) continue;
      const path = join(folder, name);
      if (existsSync(path) && !found.has(realpathSync(folder) + name)) found.set(realpathSync(folder) + name, path);
    }
  }
  return [...found.values()];
}

/** Returns each compiler on PATH with what it supports for wasm32. */
function compilers() {
  return programs(/^rustc(-\d[\d.]*)?$/).flatMap((path) => {
    const sysroot = ask(path, '--print', 'sysroot');
    const host = ask(path, '-vV')?.match(/^host: (.*)$/m)?.[1];
    if (sysroot === undefined || host === undefined) return [];
    const libraries = join(sysroot, 'lib', 'rustlib');
    return {
      path,
      version: ask(path, '--version'),
      hasTarget: existsSync(join(libraries, TARGET, 'lib')),
      hasSources: existsSync(join(libraries, 'src', 'rust', 'library', 'std')),
      linker: [join(libraries, host, 'bin', 'rust-lld')].find(existsSync),
    };
  });
}

/** Returns how to build for wasm32 on this machine: a compiler, additional cargo arguments, and the environment. */
function recipe() {
  if (ask('cargo', '--version') === undefined) {
    return { missing: ['cargo is not on PATH: install Rust 1.95 or later (https://rustup.rs)'] };
  }
  const rustup = ask('rustup', 'target', 'add', TARGET) !== undefined;
  const known = compilers();
  const linker = known.find((compiler) => compiler.linker)?.linker ?? programs(/^(rust-lld|wasm-ld(-\d+)?)$/)[0];
  const ready = known.find((compiler) => compiler.hasTarget && (compiler.linker || linker));
  if (ready) {
    const env = ready.linker ? {} : { [linkerVariable()]: linker };
    return { compiler: ready, arguments: [], env };
  }
  const sources = known.find((compiler) => compiler.hasSources);
  if (sources && linker) {
    // build-std is an unstable cargo feature, which RUSTC_BOOTSTRAP enables on a stable compiler.
    const env = { RUSTC_BOOTSTRAP: '1', [linkerVariable()]: linker };
    return { compiler: sources, arguments: ['-Zbuild-std=core,alloc,panic_abort'], env };
  }
  return {
    missing: [
      rustup ? '' : `rustup could not add ${TARGET} (no rustup, or no network)`,
      ready || sources
        ? ''
        : `no rustc on PATH has ${TARGET} or the library sources (Debian: apt install rustc-web rust-web-src)`,
      linker ? '' : 'no rust-lld or wasm-ld found (rustup toolchains contain one; Debian: apt install lld)',
    ].filter(Boolean),
  };
}

function linkerVariable() {
  return `CARGO_TARGET_${TARGET.toUpperCase().replaceAll('-', '_')}_LINKER`;
}

/** Returns the plugin crates of a workspace: those with a cdylib target. */
function crates(workspace) {
  const metadata = JSON.parse(
    execFileSync('cargo', ['metadata', '--no-deps', '--format-version=1', '--locked'], { cwd: workspace }).toString(),
  );
  return metadata.packages
    .filter((crate) => crate.targets.some((target) => target.crate_types.includes('cdylib')))
    .map((crate) => crate.name);
}

const how = recipe();
if (how.missing) {
  console.error(`The plugins cannot be built here:\n${how.missing.map((line) => `  - ${line}`).join('\n')}`);
  process.exit(1);
}
console.log(`${how.compiler.version} (${how.arguments.length ? 'with its library sources' : `with target ${TARGET}`})`);

// Committed files must not contain paths of the build machine.
const cargoHome = process.env.CARGO_HOME ?? join(homedir(), '.cargo');
const flags = [`--remap-path-prefix=${plugins}=plugins`, `--remap-path-prefix=${cargoHome}=cargo`];
let differing = 0;
for (const folder of readdirSync(plugins).sort()) {
  const workspace = join(plugins, folder);
  if (!existsSync(join(workspace, 'Cargo.toml'))) continue;
  console.log(`\n${folder}`);
  const names = crates(workspace);
  build(workspace, names, {});
  for (const name of names) keep(built(workspace, name), join(out, `${name}.wasm`));
}
for (const [setting, options] of Object.entries(variants.settings)) {
  const workspace = join(plugins, variants.workspace);
  console.log(`\n${setting}`);
  build(workspace, variants.crates, options);
  for (const name of variants.crates) keep(built(workspace, name), join(variants.out, `${name}-${setting}.wasm`));
}
process.exit(differing === 0 ? 0 : 1);

/** Builds crates of a workspace. Exits if the build fails. */
function build(workspace, names, { env = {}, flags: more = [], features = [] }) {
  const selected = [...names.flatMap((name) => ['-p', name]), ...features.flatMap((name) => ['--features', name])];
  const options = ['--release', '--locked', '--ignore-rust-version', '--target', TARGET, ...how.arguments, ...selected];
  must('cargo', ['build', ...options, '--target-dir', join(workspace, 'target')], {
    cwd: workspace,
    env: {
      ...process.env,
      ...how.env,
      ...env,
      RUSTC: how.compiler.path,
      CARGO_ENCODED_RUSTFLAGS: [...flags, ...more].join('\x1f'),
    },
  });
}

function built(workspace, name) {
  return readFileSync(join(workspace, 'target', TARGET, 'release', `${name.replaceAll('-', '_')}.wasm`));
}

/** Writes a built file, or only compares it under --check. */
function keep(bytes, file) {
  const same = existsSync(file) && readFileSync(file).equals(bytes);
  if (!same && check) differing += 1;
  if (!same && !check) {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, bytes);
  }
  console.log(`  ${basename(file)}  ${bytes.length} bytes  ${same ? 'unchanged' : check ? 'DIFFERS' : 'written'}`);
}
