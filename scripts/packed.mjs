// The package as npm would publish it, and the smoke test of binaries against where that is installed.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** The script that is npm, for `node`. */
export function npm() {
  const beside = dirname(process.execPath);
  const candidates = [process.env.npm_execpath, join(beside, '../lib/node_modules/npm/bin/npm-cli.js')];
  return candidates.find((path) => path && existsSync(path)) ?? join(beside, 'node_modules/npm/bin/npm-cli.js');
}

/** Packs into `folder` what `npm publish` would, of what is built; gives npm's description of it with its `path`. */
export function pack(folder) {
  const args = [npm(), 'pack', '--json', '--ignore-scripts', '--loglevel=error', '--pack-destination', folder];
  const options = { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] };
  const { status, stdout } = spawnSync(process.execPath, args, options);
  if (status !== 0) throw new Error(`npm pack failed with ${status}`);
  const described = JSON.parse(stdout);
  const [description] = Array.isArray(described) ? described : Object.values(described);
  return { ...description, path: join(folder, description.filename) };
}

/** The smoke test that `addSmokeTest` adds, from the folder it was added to. */
export const SMOKE = 'scripts/prebuild-smoke.mjs';

/** Puts the smoke test of binaries into `folder`, where it uses the package that is installed there. */
export function addSmokeTest(folder) {
  for (const path of [SMOKE, 'test/plugins/wasm']) cpSync(join(root, path), join(folder, path), { recursive: true });
  mkdirSync(join(folder, 'dist'));
  writeFileSync(join(folder, 'dist/index.js'), "export * from 'cc-lb-runtime-wasmtime';\n");
}
