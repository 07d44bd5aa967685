// Builds prebuilt binaries into prebuilds/ with prebuildify and binding.gyp.
//
//   node scripts/prebuild.mjs                          this machine's platform; on Linux every Linux target
//   node scripts/prebuild.mjs linux-x64-musl …         these targets
//   --profile release                                  a faster build, to test the script
//   --build-std                                        builds the standard library from its sources instead of using rustup
//
// On Linux zig compiles and links, so that the binary needs an old libc independent of the machine.
import { copyFileSync, existsSync, mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import prebuildify from 'prebuildify';
import { prebuildPath, TARGETS, targetNamed } from './prebuild-targets.mjs';
import { CROSS } from './prebuild-tools.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { profile: { type: 'string', default: 'dist' }, 'build-std': { type: 'boolean', default: false } },
});
const targets = positionals.length > 0 ? positionals.map(targetNamed) : defaultTargets();
for (const target of targets) {
  const started = Date.now();
  await build(target);
  console.log(`${prebuildPath(target)} (${Math.round((Date.now() - started) / 1000)} s)`);
}

function defaultTargets() {
  return TARGETS.filter(
    ({ platform, arch }) => platform === process.platform && (platform === 'linux' || arch === process.arch),
  );
}

async function build({ name, platform, arch, libc, zig }) {
  // prebuildify prepends the folder of Node to PATH, which may contain another Rust than the shell's.
  process.env.CC_LB_PREBUILD_PATH = process.env.PATH;
  process.env.CC_LB_PREBUILD_PROFILE = values.profile;
  process.env.CC_LB_PREBUILD_RUSTUP = values['build-std'] ? '0' : '1';
  process.env.CC_LB_PREBUILD_ZIG = zig !== undefined && process.platform === 'linux' ? '1' : '0';
  // Uses the headers of the installed Node, so that node-gyp downloads nothing.
  const installation = dirname(dirname(process.execPath));
  if (existsSync(join(installation, 'include', 'node', 'node.h'))) {
    process.env.npm_package_config_node_gyp_nodedir = installation;
  }
  const nodeGyp = join(root, 'node_modules', '.bin', process.platform === 'win32' ? 'node-gyp.cmd' : 'node-gyp');
  const options = {
    ...{ platform, arch, libc, nodeGyp, cwd: stage(name), out: root },
    ...{ napi: true, name: 'cc-lb-runtime-wasmtime', tagLibc: libc !== undefined, targets: [process.version] },
  };
  await new Promise((resolve, reject) => {
    prebuildify(options, (error) => (error ? reject(error) : resolve()));
  });
}

/** Creates a folder in which node-gyp may delete build/: that of the checkout contains the development build. */
function stage(name) {
  const folder = join(CROSS, 'stage', name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const file of ['binding.gyp', 'package.json']) copyFileSync(join(root, file), join(folder, file));
  for (const directory of ['scripts', 'native', 'node_modules']) {
    symlinkSync(join(root, directory), join(folder, directory), 'junction');
  }
  return folder;
}
