// Builds the addon into build/Release. `--profile dist` builds the published binary; development uses `release`.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Runs the build of @napi-rs/cli with cargo's output on the terminal. Exits with its status if it fails. */
export function buildNative(profile = 'release', extra = []) {
  const cli = fileURLToPath(import.meta.resolve('@napi-rs/cli')).replace(/index\.[cm]?js$/, 'cli.js');
  const result = spawnSync(
    process.execPath,
    [
      cli,
      'build',
      ...['--profile', profile],
      ...['--manifest-path', 'native/binding/Cargo.toml'],
      ...['--target-dir', `${root}native/target`],
      ...['--output-dir', 'build/Release'],
      ...['--dts', '../../src/native/binding.ts'],
      '--no-js',
      ...extra,
    ],
    { cwd: root, stdio: 'inherit' },
  );
  if (result.status !== 0) process.exit(result.status ?? 1);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = (await import('node:util')).parseArgs({ options: { profile: { type: 'string' } } });
  buildNative(values.profile);
}
