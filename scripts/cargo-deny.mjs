// Runs cargo-deny on the addon's crates with deny.toml.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { skipped } from './skipped.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Runs a check; returns whether it passed. A check that cannot run here is skipped, see `skipped`. */
export function cargoDeny(what, args) {
  const program = process.env.CARGO_DENY ?? 'cargo-deny';
  const { error } = spawnSync(program, ['--version']);
  if (error) return skipped(`${what} of the crates, because cargo-deny is missing (cargo install cargo-deny --locked)`);
  const { status } = spawnSync(program, ['--manifest-path', 'native/Cargo.toml', '--locked', ...args], {
    cwd: root,
    stdio: 'inherit',
  });
  console.log(`${status === 0 ? '✓' : '✗'} ${what} of the crates`);
  return status === 0;
}
