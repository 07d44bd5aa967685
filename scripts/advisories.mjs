// npm run advisories: reports known vulnerabilities in crates (RustSec, through cargo-deny) and npm packages (npm audit).
// A check whose tool or network is not available is skipped with a message.
//
//   --offline   uses the database of an earlier run, without network
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { cargoDeny } from './cargo-deny.mjs';
import { skipped } from './skipped.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const { values } = parseArgs({ options: { offline: { type: 'boolean', default: false } } });
const offline = values.offline ? ['--disable-fetch'] : [];
const crates = reachable()
  ? cargoDeny('advisories', ['check', 'advisories', ...offline])
  : skipped('advisories of the crates, because the RustSec database cannot be reached');
const packages = npmAudit();
process.exit(crates && packages ? 0 : 1);

function reachable() {
  if (offline.length > 0) return true;
  const { status } = spawnSync('git', ['ls-remote', '--exit-code', 'https://github.com/rustsec/advisory-db', 'HEAD'], {
    env: { ...process.env, GIT_TERMINAL_PROMPT: '0' },
    timeout: 30_000,
  });
  return status === 0;
}

function npmAudit() {
  const { status, stdout } = spawnSync('npm', ['audit', '--omit=dev', '--json'], {
    cwd: root,
    encoding: 'utf8',
    shell: process.platform === 'win32',
  });
  const report = parsed(stdout);
  if (report?.metadata === undefined) {
    return skipped('advisories of npm packages, because the registry did not answer `npm audit`');
  }
  const { total } = report.metadata.vulnerabilities;
  console.log(`${status === 0 ? '✓' : '✗'} advisories of npm packages (${total} found)`);
  return status === 0;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
