// npm run release -- 1.2.3: creates the commit and the tag of a release. Pushing the tag starts the workflow that
// builds, tests and publishes. `--check` only runs the checks, without a version.
//
// Fails for uncommitted changes, a branch other than main, an outdated type file of the addon or list of licenses, a
// changelog without unreleased changes, and a version that is already tagged or not higher than the last.
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import semver from 'semver';

const root = fileURLToPath(new URL('..', import.meta.url));
const UNRELEASED = '## [Unreleased]';
const { values, positionals } = parseArgs({ allowPositionals: true, options: { check: { type: 'boolean' } } });
const [version] = positionals;

abortIf(run('git', 'status', '--porcelain') !== '', 'there are uncommitted changes');
const manifest = JSON.parse(read('package.json'));
if (!values.check) {
  abortIf(semver.valid(version) !== version, 'name a version, such as `npm run release -- 1.2.3`');
  abortIf(run('git', 'tag', '--list', `v${version}`) !== '', `v${version} is already tagged`);
  // The first release has the version in package.json.
  abortIf(semver.lt(version, manifest.version), `${version} is lower than ${manifest.version}`);
  abortIf(run('git', 'branch', '--show-current') !== 'main', 'the branch is not main');
  const changes = read('CHANGELOG.md').split(UNRELEASED)[1]?.split('\n## ')[0].trim();
  abortIf(!changes, 'CHANGELOG.md has no changes under [Unreleased]');
}
run(process.execPath, 'scripts/build-native.mjs');
abortIf(
  run('git', 'status', '--porcelain', '--', 'src/native/binding.ts') !== '',
  'src/native/binding.ts was out of date: commit the regenerated file',
);
run(process.execPath, 'scripts/licenses.mjs', '--check');
run(process.execPath, 'scripts/lint-workflows.mjs');
if (values.check) {
  console.log('✓ ready for a release');
  process.exit(0);
}

setVersions();
run('git', 'commit', '--all', '--message', `Release ${version}`);
run('git', 'tag', '--annotate', `v${version}`, '--message', `Release ${version}`);
console.log(`✓ tagged v${version}; to publish: git push --follow-tags`);

function setVersions() {
  const today = new Date().toISOString().slice(0, 10);
  replace('CHANGELOG.md', UNRELEASED, `${UNRELEASED}\n\n## [${version}] - ${today}`);
  if (version === manifest.version) return;
  run('npm', 'version', version, '--no-git-tag-version', '--ignore-scripts');
  replace('src/package.ts', /^(export const VERSION = ')[^']*/m, `$1${version}`);
  const crate = /^(\[workspace\.package\]\nversion = ")[^"]*/m;
  replace('native/Cargo.toml', crate, `$1${version}`);
  const locked = /^(name = "cc-lb-(?:engine|runtime-wasmtime-native)"\nversion = ")[^"]*/gm;
  replace('native/Cargo.lock', locked, `$1${version}`);
}

function read(path) {
  return readFileSync(join(root, path), 'utf8');
}

function replace(path, pattern, replacement) {
  const before = read(path);
  const after = before.replace(pattern, replacement);
  abortIf(after === before, `${path} does not contain the version`);
  writeFileSync(join(root, path), after);
}

function run(command, ...args) {
  const shell = process.platform === 'win32' && command === 'npm';
  const options = { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], shell };
  const { status, stdout } = spawnSync(command, args, options);
  if (status !== 0) {
    process.stdout.write(stdout ?? '');
    abortIf(true, `${[command, ...args].join(' ')} failed`);
  }
  return stdout.trim();
}

function abortIf(isInvalid, why) {
  if (!isInvalid) return;
  console.error(`✗ no release: ${why}`);
  process.exit(1);
}
