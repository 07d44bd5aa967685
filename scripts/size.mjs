// npm run size: checks the size of each prebuilt binary against its budget, and that it is fit to publish: no path of the
// build machine inside; on Linux stripped, with an old enough glibc; on Windows with its own C runtime.
//
//   --all-platforms   reports binaries that are not built as missing
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { GLIBC_BASELINE, prebuildPath, TARGETS } from './prebuild-targets.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const BUDGET_BYTES = 12_000_000;
/** Paths that must not be inside, with the separators of the system and with those that compilers may write. */
const PATHS = [root, homedir() + sep].flatMap((path) => [...new Set([path, path.replaceAll(sep, '/')])]);

const { values } = parseArgs({ options: { 'all-platforms': { type: 'boolean', default: false } } });
const all = values['all-platforms'];
let failed = false;
let found = 0;
for (const target of TARGETS) {
  const path = join(root, prebuildPath(target));
  if (!existsSync(path)) {
    if (all) console.log(`✗ ${prebuildPath(target)} is missing`);
    failed ||= all;
    continue;
  }
  found += 1;
  const bytes = readFileSync(path);
  const faults = [
    ...(bytes.length > BUDGET_BYTES ? [`over the budget of ${BUDGET_BYTES / 1e6} MB`] : []),
    ...PATHS.filter((path) => bytes.includes(path)).map((path) => `it contains the path ${path}`),
    ...(target.platform === 'linux' ? elfFaults(bytes, target) : []),
    ...(/vcruntime\d+\.dll/i.test(bytes.toString('latin1')) ? ['it needs a C runtime that Windows may lack'] : []),
  ];
  console.log(`${faults.length === 0 ? '✓' : '✗'} ${prebuildPath(target)}  ${(bytes.length / 1e6).toFixed(2)} MB`);
  if (target.libc === 'glibc') console.log(`    newest glibc symbol version: ${newestGlibc(bytes)}`);
  for (const fault of faults) console.log(`    ${fault}`);
  failed ||= faults.length > 0;
}
if (found === 0) console.error('There is no prebuilt binary: run `npm run build:prebuilds` first.');
process.exit(failed || found === 0 ? 1 : 0);

function elfFaults(bytes, { libc }) {
  const faults = sectionNames(bytes).filter((name) => /^\.(symtab|debug_.*)$/.test(name));
  const stripped = faults.map((name) => `not stripped: it has a section ${name}`);
  if (libc === 'musl') return bytes.includes('GLIBC_2.') ? [...stripped, 'it needs glibc'] : stripped;
  const newest = newestGlibc(bytes);
  return compare(newest, GLIBC_BASELINE) > 0 ? [...stripped, `it needs glibc ${newest}`] : stripped;
}

/** Returns the newest `GLIBC_x.y` version that the binary's symbols need. */
function newestGlibc(bytes) {
  const versions = bytes.toString('latin1').match(/(?<=\0GLIBC_)2\.\d+(?:\.\d+)?(?=\0)/g) ?? [];
  return versions.sort(compare).at(-1) ?? 'none';
}

function compare(a, b) {
  const [left, right] = [a, b].map((version) => version.split('.').map(Number));
  return left[0] - right[0] || left[1] - right[1] || (left[2] ?? 0) - (right[2] ?? 0);
}

/** Returns the names of the sections of a 64-bit little-endian ELF file. */
function sectionNames(bytes) {
  const at = Number(bytes.readBigUInt64LE(0x28));
  const size = bytes.readUInt16LE(0x3a);
  const count = bytes.readUInt16LE(0x3c);
  const header = (index) => at + index * size;
  const names = Number(bytes.readBigUInt64LE(header(bytes.readUInt16LE(0x3e)) + 0x18));
  return Array.from({ length: count }, (_, index) => {
    const start = names + bytes.readUInt32LE(header(index));
    return bytes.toString('latin1', start, bytes.indexOf(0, start));
  });
}
