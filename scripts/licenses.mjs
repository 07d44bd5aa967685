// npm run licenses: checks the licenses of everything that is published, and writes THIRD_PARTY_LICENSES.md.
//
//   --check   changes nothing, and exits with 1 if the file is out of date
//
// cargo-deny checks the crates (deny.toml). If it is not installed, that part is skipped with a message.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { cargoDeny } from './cargo-deny.mjs';
import { TARGETS } from './prebuild-targets.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const FILE = join(root, 'THIRD_PARTY_LICENSES.md');
const NPM_ALLOWED = ['MIT', 'ISC', 'Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause'];
const LICENSE_FILE = /^(licen[cs]e|copying|unlicense)([.-].*)?$/i;

const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } });
let failed = !cargoDeny('licenses, bans and sources', ['check', 'licenses', 'bans', 'sources']);

const parts = [...crates(), ...npmPackages()].sort((a, b) => (a.id < b.id ? -1 : 1));
const text = document(parts);
const current = existsSync(FILE) ? readFileSync(FILE, 'utf8') : '';
if (values.check && current !== text) {
  console.error('✗ THIRD_PARTY_LICENSES.md is out of date: run `npm run licenses`');
  failed = true;
} else {
  if (current !== text) writeFileSync(FILE, text);
  console.log(`✓ THIRD_PARTY_LICENSES.md lists ${parts.length} components`);
}
process.exit(failed ? 1 : 0);

/** The third-party crates that are linked into the addon of any target. Build scripts and procedural macros are not linked. */
function crates() {
  const linked = new Set();
  for (const { triple } of TARGETS) {
    const only = ['--edges', 'normal,no-proc-macro', '--target', triple, '--prefix', 'none', '--format', '{p}'];
    for (const line of cargo('tree', ...only).split('\n')) linked.add(line.split(' ').slice(0, 2).join(' '));
  }
  const { packages } = JSON.parse(cargo('metadata', '--format-version=1'));
  return packages
    .filter(({ name, version, source }) => linked.has(`${name} v${version}`) && source !== null)
    .map(({ name, version, license, repository, manifest_path }) =>
      component({ kind: 'crate', name, version, license, home: repository, folder: dirname(manifest_path) }),
    );
}

function cargo(command, ...args) {
  const { status, stdout, stderr } = spawnSync('cargo', [command, '--locked', ...args], {
    cwd: join(root, 'native'),
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  });
  if (status === 0) return stdout;
  console.error(`cargo ${command} failed: ${stderr}`);
  return process.exit(1);
}

/** The dependencies that npm installs with the package, or that are bundled into it. */
function npmPackages() {
  const found = new Map();
  const visit = (names) => {
    for (const name of names.filter((name) => !found.has(name))) {
      const folder = join(root, 'node_modules', name);
      const {
        version,
        license,
        homepage,
        dependencies = {},
      } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
      if (!NPM_ALLOWED.includes(license)) {
        console.error(`✗ ${name} ${version} has license ${license}`);
        failed = true;
      }
      found.set(name, component({ kind: 'npm', name, version, license, home: homepage, folder }));
      visit(Object.keys(dependencies));
    }
  };
  visit(Object.keys(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).dependencies));
  return [...found.values()];
}

/** Returns a component with its license texts. Work offered under Apache-2.0 is used under it and needs no other text. */
function component({ kind, name, version, license, home, folder }) {
  const apache = /\bApache-2\.0\b/.test(license);
  const files = apache ? [] : readdirSync(folder).filter((file) => LICENSE_FILE.test(file));
  // The MIT text suffices for a choice of licenses that includes it.
  const chosen = files.filter((file) => /mit/i.test(file)).slice(0, 1);
  const texts = (chosen.length > 0 ? chosen : files).map((file) => readFileSync(join(folder, file), 'utf8').trim());
  return { id: `${kind} ${name} ${version}`, kind, name, version, license, home: home ?? '', texts };
}

function document(all) {
  const rows = all.map(
    ({ kind, name, version, license, home }) => `| ${kind} | ${name} | ${version} | ${license} | ${home} |`,
  );
  const texts = all
    .filter((one) => one.texts.length > 0)
    .map(({ name, version, texts: each }) => `## ${name} ${version}\n\n${each.map(indented).join('\n\n')}\n`);
  return `# Licenses of third-party work in this package

Crates are linked into the addon; npm packages are installed with it or bundled into it. Work that is offered under Apache-2.0,
with or without the LLVM exception, is used under it: its text is in LICENSE. The other licenses follow the table.

Rust's standard library (MIT OR Apache-2.0, https://github.com/rust-lang/rust) is linked in as well, and with it the crates
that its library/Cargo.lock names, each under MIT, Apache-2.0 or a choice that has one of them.

| kind | name | version | license | home |
| --- | --- | --- | --- | --- |
${rows.join('\n')}

${texts.join('\n')}`;
}

function indented(text) {
  return text.replaceAll('\r', '').replace(/^(?=.)/gm, '    ');
}
