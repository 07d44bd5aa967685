// Builds the oracle and the fuzzer, then runs it: npm run fuzz -- [--count N | --seconds S] [--seed X] [--first I]
// npm run fuzz -- --remake-vectors rewrites test/oracle/vectors instead.
import { fileURLToPath } from 'node:url';
import { must } from './commands.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const oracle = `${root}test/oracle/`;
const args = process.argv.slice(2);

must('cargo', ['build', '--quiet', '--release', '--locked', '--ignore-rust-version'], { cwd: oracle });
must(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'test/wire/fuzz/tsconfig.json']);
const [program, ...rest] = args.includes('--remake-vectors') ? ['record', `${oracle}vectors`] : ['main', ...args];
must(process.execPath, [`build/fuzz/test/wire/fuzz/${program}.js`, ...rest], {
  env: { ...process.env, CC_LB_WIRE_ORACLE: `${oracle}target/release/cc-lb-wire-oracle` },
});
