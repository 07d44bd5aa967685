// The platforms that have a prebuilt binary. `zig` is the C compiler's name for a Linux target: it fixes the oldest
// glibc that the binary needs, independent of the build machine.
export const TARGETS = [
  { platform: 'linux', arch: 'x64', libc: 'glibc', triple: 'x86_64-unknown-linux-gnu', zig: 'x86_64-linux-gnu.2.28' },
  { platform: 'linux', arch: 'x64', libc: 'musl', triple: 'x86_64-unknown-linux-musl', zig: 'x86_64-linux-musl' },
  {
    platform: 'linux',
    arch: 'arm64',
    libc: 'glibc',
    triple: 'aarch64-unknown-linux-gnu',
    zig: 'aarch64-linux-gnu.2.28',
  },
  { platform: 'linux', arch: 'arm64', libc: 'musl', triple: 'aarch64-unknown-linux-musl', zig: 'aarch64-linux-musl' },
  { platform: 'darwin', arch: 'x64', triple: 'x86_64-apple-darwin' },
  { platform: 'darwin', arch: 'arm64', triple: 'aarch64-apple-darwin' },
  { platform: 'win32', arch: 'x64', triple: 'x86_64-pc-windows-msvc' },
].map((target) => ({ ...target, name: [target.platform, target.arch, target.libc].filter(Boolean).join('-') }));

/** The oldest glibc that a glibc binary may need. */
export const GLIBC_BASELINE = '2.28';

/** The path of a target's binary relative to the package, as prebuildify writes it and node-gyp-build finds it. */
export function prebuildPath({ platform, arch, libc }) {
  return `prebuilds/${platform}-${arch}/cc-lb-runtime-wasmtime${libc ? `.${libc}` : ''}.node`;
}

/** The target of the running Node. */
export function hostTarget() {
  const libc = process.platform === 'linux' ? hostLibc() : undefined;
  return TARGETS.find(
    (target) => target.platform === process.platform && target.arch === process.arch && target.libc === libc,
  );
}

function hostLibc() {
  return process.report.getReport().header.glibcVersionRuntime === undefined ? 'musl' : 'glibc';
}

/** Returns the target with this name, such as `linux-x64-musl`. Exits with the list of names if there is none. */
export function targetNamed(name) {
  const found = TARGETS.find((target) => target.name === name);
  if (found === undefined) {
    console.error(`No target "${name}". Known: ${TARGETS.map((target) => target.name).join(', ')}`);
    process.exit(1);
  }
  return found;
}
