// Builds the Rust programs of the benchmarks.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Builds an example of the engine crate and returns its path. */
export function buildExample(name) {
  const host = /host: (\S+)/.exec(spawnSync('rustc', ['-vV'], { encoding: 'utf8' }).stdout)[1];
  const cargo = ['build', '--release', '--locked', '--target', host, '--manifest-path', 'native/Cargo.toml'];
  const built = spawnSync('cargo', [...cargo, '--package', 'cc-lb-engine', '--features', 'bench', '--example', name], {
    cwd: root,
    stdio: 'inherit',
  });
  if (built.status !== 0) process.exit(1);
  return `${root}native/target/${host}/release/examples/${name}`;
}
