// Runs cargo-deny on the addon's crates with deny.toml.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Whether the check passed; one that cannot be run here is skipped with a line that says so, and counts as passed. */
export function cargoDeny(what, args) {
  const program = process.env.CARGO_DENY ?? 'cargo-deny';
  const { error } = spawnSync(program, ['--version']);
  if (error) {
    console.warn(`SKIPPED: ${what} of the crates, because cargo-deny is missing (cargo install cargo-deny --locked)`);
    return true;
  }
  const { status } = spawnSync(program, ['--manifest-path', 'native/Cargo.toml', '--locked', ...args], {
    cwd: root,
    stdio: 'inherit',
  });
  console.log(`${status === 0 ? '✓' : '✗'} ${what} of the crates`);
  return status === 0;
}
