// npm test: runs lint, types, the check of the API reference, the addon's own tests and the suites under test/. Prints the
// sum over all suites at the end.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { setUp } from './setup.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const REPORT = 'build/vitest.json';

setUp();
let passed = 0;
let failed = 0;

suite('lint', 'node_modules/@biomejs/biome/bin/biome', ['check', '.']);
suite('types', 'node_modules/typescript/bin/tsc', ['-p', 'tsconfig.json']);
suite('API reference', 'scripts/reference.mjs', ['--check']);
check('rustfmt', spawn('cargo', ['fmt', '--manifest-path', 'native/Cargo.toml', '--all', '--check']));
// The target must equal that of the build, or cargo builds a second set of artifacts.
const host = /host: (\S+)/.exec(spawnSync('rustc', ['-vV'], { encoding: 'utf8' }).stdout)[1];
const cargo = ['--manifest-path', 'native/Cargo.toml', '--release', '--locked', '--target', host];
check('clippy', spawn('cargo', ['clippy', ...cargo, '--all-targets', '--', '-D', 'warnings']));
const rustdoc = { ...process.env, RUSTDOCFLAGS: '-D warnings' };
check('cargo doc', spawn('cargo', ['doc', ...cargo, '--no-deps'], { env: rustdoc }));
const unit = spawn('cargo', ['test', ...cargo], { stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8' });
process.stdout.write(unit.stdout ?? '');
const counts = [...(unit.stdout ?? '').matchAll(/test result: \w+\. (\d+) passed; (\d+) failed/g)];
for (const [, ok, bad] of counts) add(Number(ok), Number(bad));
if (unit.status !== 0 && !counts.some(([, , bad]) => bad !== '0')) add(0, 1);

rmSync(`${root}${REPORT}`, { force: true });
const vitest = spawn(process.execPath, [
  ...['node_modules/vitest/vitest.mjs', 'run'],
  ...['--reporter=default', '--reporter=json', `--outputFile.json=${REPORT}`],
]);
if (existsSync(`${root}${REPORT}`)) {
  const report = JSON.parse(readFileSync(`${root}${REPORT}`, 'utf8'));
  add(report.numPassedTests, report.numFailedTests);
}
if (vitest.status !== 0 && failed === 0) add(0, 1);

console.log(`\n${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);

function suite(name, script, args) {
  check(name, spawn(process.execPath, [script, ...args]));
}

function check(name, { status }) {
  console.log(`${status === 0 ? '✓' : '✗'} ${name}`);
  add(status === 0 ? 1 : 0, status === 0 ? 0 : 1);
}

function spawn(command, args, options = {}) {
  return spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], ...options });
}

function add(ok, bad) {
  passed += ok;
  failed += bad;
}
