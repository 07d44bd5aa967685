// Builds the addon into build/Release. `--profile dist` builds the published binary; development uses `release`.
import { fileURLToPath } from 'node:url';
import { must } from './commands.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Runs the build of @napi-rs/cli with cargo's output on the terminal. Exits with 1 if it fails. */
export function buildNative(profile = 'release', extra = []) {
  const cli = fileURLToPath(import.meta.resolve('@napi-rs/cli')).replace(/index\.[cm]?js$/, 'cli.js');
  must(process.execPath, [
    ...[cli, 'build', '--profile', profile],
    ...['--manifest-path', 'native/binding/Cargo.toml'],
    ...['--target-dir', `${root}native/target`],
    ...['--output-dir', 'build/Release'],
    ...['--dts', '../../src/native/binding.ts'],
    ...['--no-js', ...extra],
  ]);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = (await import('node:util')).parseArgs({ options: { profile: { type: 'string' } } });
  buildNative(values.profile);
}
