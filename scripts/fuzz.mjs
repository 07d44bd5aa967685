// Builds the oracle and the fuzzer, then runs it: npm run fuzz -- [--count N | --seconds S] [--seed X] [--first I]
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const oracle = `${root}test/oracle/`;

function run(command, args, options = {}) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options });
  if (error) console.error(`${command}: ${error.message}`);
  if (status !== 0) process.exit(status ?? 1);
}

run('cargo', ['build', '--quiet', '--release', '--locked', '--ignore-rust-version'], { cwd: oracle });
run(process.execPath, [`${root}node_modules/typescript/bin/tsc`, '-p', 'test/wire/fuzz/tsconfig.json']);
run(process.execPath, ['build/fuzz/test/wire/fuzz/main.js', ...process.argv.slice(2)], {
  env: { ...process.env, CC_LB_WIRE_ORACLE: `${oracle}target/release/cc-lb-wire-oracle` },
});
