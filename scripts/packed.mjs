// Packs the package as npm publishes it, and adds the smoke test of binaries to an installation.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Returns the path of npm's script, to be run by Node. */
export function npm() {
  const nodeFolder = dirname(process.execPath);
  const candidates = [process.env.npm_execpath, join(nodeFolder, '../lib/node_modules/npm/bin/npm-cli.js')];
  return candidates.find((path) => path && existsSync(path)) ?? join(nodeFolder, 'node_modules/npm/bin/npm-cli.js');
}

/** Packs the built package into `folder` as `npm publish` does. Returns npm's description of it with its `path`. */
export function pack(folder) {
  const description = describePackage(['--pack-destination', folder]);
  return { ...description, path: join(folder, description.filename) };
}

/** Returns the paths of the files that `pack` would pack, relative to the root of the package. */
export function packedFiles() {
  return describePackage(['--dry-run']).files.map(({ path }) => path);
}

function describePackage(destination) {
  const args = [npm(), 'pack', '--json', '--ignore-scripts', '--loglevel=error', ...destination];
  const options = { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] };
  const { status, stdout } = spawnSync(process.execPath, args, options);
  if (status !== 0) throw new Error(`npm pack failed with ${status}`);
  const described = JSON.parse(stdout);
  return (Array.isArray(described) ? described : Object.values(described))[0];
}

/** The path of the smoke test in the folder of `addSmokeTest`. */
export const SMOKE = 'scripts/prebuild-smoke.mjs';

/** Copies the smoke test of binaries into `folder`, where it uses the installed package. */
export function addSmokeTest(folder) {
  for (const path of [SMOKE, 'test/plugins/wasm']) cpSync(join(root, path), join(folder, path), { recursive: true });
  mkdirSync(join(folder, 'dist'));
  writeFileSync(join(folder, 'dist/index.js'), "export * from 'cc-lb-runtime-wasmtime';\n");
}
