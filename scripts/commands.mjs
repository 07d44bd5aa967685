// Runs the commands that the scripts need. Uses only built-in modules of Node: setup.mjs runs before anything is installed.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Returns the output of a command, without the white space around it; undefined if it is missing or fails. */
export function ask(command, ...args) {
  const { status, stdout } = spawnSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  return status === 0 ? stdout.trim() : undefined;
}

/**
 * Runs a command in the root of the repository with its output on the terminal, unless `options` say otherwise. Exits
 * with 1 if it fails.
 */
export function must(command, args, options) {
  const result = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options });
  if (result.status === 0) return result;
  console.error(`✗ ${[command, ...args].join(' ')}: ${result.error?.message ?? result.signal ?? result.status}`);
  return process.exit(1);
}
