// npm, started without a shell, and the tarball that it would publish.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
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
