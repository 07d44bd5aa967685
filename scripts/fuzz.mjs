// Builds the oracle and the fuzzer, then runs it: npm run fuzz -- [--count N | --seconds S] [--seed X] [--first I]
// npm run fuzz -- --remake-vectors rewrites test/oracle/vectors instead.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const oracle = `${root}test/oracle/`;
const args = process.argv.slice(2);

function run(command, args, options = {}) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options });
  if (error) console.error(`${command}: ${error.message}`);
  if (status !== 0) process.exit(status ?? 1);
}

run('cargo', ['build', '--quiet', '--release', '--locked', '--ignore-rust-version'], { cwd: oracle });
run(process.execPath, [`${root}node_modules/typescript/bin/tsc`, '-p', 'test/wire/fuzz/tsconfig.json']);
const [program, ...rest] = args.includes('--remake-vectors') ? ['record', `${oracle}vectors`] : ['main', ...args];
run(process.execPath, [`build/fuzz/test/wire/fuzz/${program}.js`, ...rest], {
  env: { ...process.env, CC_LB_WIRE_ORACLE: `${oracle}target/release/cc-lb-wire-oracle` },
});
