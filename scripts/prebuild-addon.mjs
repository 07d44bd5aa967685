// The action of binding.gyp: builds the addon with @napi-rs/cli into build/Release of the folder named as the argument,
// for the target in prebuildify's environment, or for this machine.
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildNative } from './build-native.mjs';
import { ask } from './commands.mjs';
import { hostTarget, TARGETS } from './prebuild-targets.mjs';
import { CROSS, zig } from './prebuild-tools.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const moduleFolder = process.argv[2] ?? root;
const target = requestedTarget();
const profile = process.env.CC_LB_PREBUILD_PROFILE ?? 'dist';
const useZig = process.env.CC_LB_PREBUILD_ZIG === '1';

if (process.env.CC_LB_PREBUILD_PATH !== undefined) process.env.PATH = process.env.CC_LB_PREBUILD_PATH;
const compiler = rust(target.triple);
Object.assign(process.env, compiler.env, useZig ? zigEnvironment(target) : {}, {
  CARGO_ENCODED_RUSTFLAGS: rustFlags(target).join('\x1f'),
});
buildNative(profile, [
  ...['--target', target.triple],
  ...['--target-dir', join(CROSS, 'cargo')],
  ...['--output-dir', join(moduleFolder, 'build', 'Release')],
  ...['--', '--locked', ...compiler.arguments],
]);

function requestedTarget() {
  const { PREBUILD_PLATFORM: platform, PREBUILD_ARCH: arch, PREBUILD_LIBC: libc } = process.env;
  if (platform === undefined) return hostTarget();
  return TARGETS.find(
    (candidate) =>
      candidate.platform === platform && candidate.arch === arch && (platform !== 'linux' || candidate.libc === libc),
  );
}

/** Returns a compiler that has the standard library of the target, can add it, or has the sources to build it. */
function rust(triple) {
  if (hasStandardLibrary('rustc', triple)) return { env: {}, arguments: [] };
  const mayAdd = process.env.CC_LB_PREBUILD_RUSTUP !== '0';
  if (mayAdd && ask('rustup', 'target', 'add', triple) !== undefined) return { env: {}, arguments: [] };
  for (const rustc of ['rustc', '/usr/bin/rustc']) {
    const sysroot = ask(rustc, '--print', 'sysroot');
    if (sysroot === undefined || !existsSync(join(sysroot, 'lib/rustlib/src/rust/library/std'))) continue;
    // build-std is an unstable cargo feature, which RUSTC_BOOTSTRAP enables on a stable compiler.
    return {
      env: { RUSTC: rustc, RUSTC_BOOTSTRAP: '1' },
      arguments: ['--ignore-rust-version', '-Zbuild-std=std,panic_unwind'],
    };
  }
  console.error(
    `No Rust compiler here can build for ${triple}: rustup could not add the target, and no compiler has the sources ` +
      'of the standard library (Debian: apt install rustc-web rust-web-src).',
  );
  return process.exit(1);
}

function hasStandardLibrary(rustc, triple) {
  const sysroot = ask(rustc, '--print', 'sysroot');
  return sysroot !== undefined && existsSync(join(sysroot, 'lib', 'rustlib', triple, 'lib'));
}

/** Uses zig as C compiler and linker. The wrapper drops the --target= of rustc, which zig would misinterpret. */
function zigEnvironment({ triple, zig: zigTarget }) {
  const folder = join(CROSS, 'wrappers');
  mkdirSync(folder, { recursive: true });
  const compiler = zig();
  const cc = join(folder, `cc-${zigTarget}`);
  const dropTarget = 'for a do shift; case "$a" in --target=*) ;; *) set -- "$@" "$a" ;; esac; done';
  script(cc, `${dropTarget}\nexec "${compiler}" cc -target ${zigTarget} "$@"`);
  const ar = join(folder, 'ar');
  script(ar, `exec "${compiler}" ar "$@"`);
  const variable = triple.replaceAll('-', '_');
  return {
    [`CARGO_TARGET_${variable.toUpperCase()}_LINKER`]: cc,
    [`CC_${variable}`]: cc,
    [`AR_${variable}`]: ar,
    ZIG_GLOBAL_CACHE_DIR: join(CROSS, 'zig-cache'),
    ZIG_LOCAL_CACHE_DIR: join(CROSS, 'zig-cache'),
  };
}

function script(path, body) {
  writeFileSync(path, `#!/bin/sh\n${body}\n`);
  chmodSync(path, 0o755);
}

/**
 * The binary must not contain paths of the build machine. A musl addon uses the libc of the process. A Windows addon links
 * its C runtime statically, as node.exe does, because Windows may lack one.
 */
function rustFlags({ libc, platform }) {
  const cargoHome = process.env.CARGO_HOME ?? join(homedir(), '.cargo');
  return [
    `--remap-path-prefix=${root}=cc-lb-runtime-wasmtime/`,
    `--remap-path-prefix=${cargoHome}=cargo`,
    ...(libc === 'musl' ? ['-Ctarget-feature=-crt-static'] : []),
    ...(platform === 'win32' ? ['-Ctarget-feature=+crt-static'] : []),
  ];
}
