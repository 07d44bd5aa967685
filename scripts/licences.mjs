// npm run licences: checks the licences of everything that is published, and writes THIRD_PARTY_LICENCES.md.
//
//   --check   changes nothing, exits 1 where the file is not what it should be
//
// cargo-deny judges the crates (deny.toml) where it is installed; without it that part is skipped, loudly.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { cargoDeny } from './cargo-deny.mjs';
import { TARGETS } from './prebuild-targets.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const FILE = join(root, 'THIRD_PARTY_LICENCES.md');
const NPM_ALLOWED = ['MIT', 'ISC', 'Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause'];
const LICENCE_FILE = /^(licen[cs]e|copying|unlicense)([.-].*)?$/i;

const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } });
let failed = !cargoDeny('licences, bans and sources', ['check', 'licenses', 'bans', 'sources']);

const parts = [...crates(), ...npmPackages()].sort((a, b) => (a.id < b.id ? -1 : 1));
const text = document(parts);
const current = existsSync(FILE) ? readFileSync(FILE, 'utf8') : '';
if (values.check && current !== text) {
  console.error('✗ THIRD_PARTY_LICENCES.md is out of date: run `npm run licences`');
  failed = true;
} else {
  if (current !== text) writeFileSync(FILE, text);
  console.log(`✓ THIRD_PARTY_LICENCES.md names ${parts.length} parts`);
}
process.exit(failed ? 1 : 0);

/** The crates that are linked into an addon of any target. Build scripts and macros leave no code of theirs in it. */
function crates() {
  const linked = new Set();
  for (const { triple } of TARGETS) {
    const only = ['--edges', 'normal,no-proc-macro', '--target', triple, '--prefix', 'none', '--format', '{p}'];
    for (const line of cargo('tree', ...only).split('\n')) linked.add(line.split(' ').slice(0, 2).join(' '));
  }
  const { packages, resolve } = JSON.parse(cargo('metadata', '--format-version=1'));
  return packages
    .filter(({ name, version, id }) => linked.has(`${name} v${version}`) && id !== resolve.root)
    .map(({ name, version, license, repository, manifest_path }) =>
      part({ kind: 'crate', name, version, licence: license, home: repository, folder: dirname(manifest_path) }),
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
        console.error(`✗ ${name} ${version} has licence ${license}`);
        failed = true;
      }
      found.set(name, part({ kind: 'npm', name, version, licence: license, home: homepage, folder }));
      visit(Object.keys(dependencies));
    }
  };
  visit(Object.keys(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).dependencies));
  return [...found.values()];
}

/** What is offered under Apache-2.0 is used under it; of the rest the licence's own text is kept. */
function part({ kind, name, version, licence, home, folder }) {
  const apache = /\bApache-2\.0\b/.test(licence);
  const files = apache ? [] : readdirSync(folder).filter((file) => LICENCE_FILE.test(file));
  // Of several offered licences MIT's text is enough.
  const chosen = files.filter((file) => /mit/i.test(file)).slice(0, 1);
  const texts = (chosen.length > 0 ? chosen : files).map((file) => readFileSync(join(folder, file), 'utf8').trim());
  return { id: `${kind} ${name} ${version}`, kind, name, version, licence, home: home ?? '', texts };
}

function document(all) {
  const rows = all.map(
    ({ kind, name, version, licence, home }) => `| ${kind} | ${name} | ${version} | ${licence} | ${home} |`,
  );
  const texts = all
    .filter((one) => one.texts.length > 0)
    .map(({ name, version, texts: each }) => `## ${name} ${version}\n\n${each.map(indented).join('\n\n')}\n`);
  return `# Licences of others' work in this package

Crates are linked into the addon; npm packages are installed with it or bundled into it. What is offered under Apache-2.0,
with or without the LLVM exception, is used under it: its text is in LICENSE. The other licences follow the table.

Rust's standard library (MIT OR Apache-2.0, https://github.com/rust-lang/rust) is linked in as well, and with it the crates
that its library/Cargo.lock names, each under MIT, Apache-2.0 or a choice that has one of them.

| kind | name | version | licence | home |
| --- | --- | --- | --- | --- |
${rows.join('\n')}

${texts.join('\n')}`;
}

function indented(text) {
  return text.replaceAll('\r', '').replace(/^(?=.)/gm, '    ');
}
