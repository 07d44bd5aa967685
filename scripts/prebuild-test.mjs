// npm run test:prebuilds: loads each Linux binary under prebuilds/ in a Node of its platform and uses it
// (prebuild-smoke.mjs): natively, under musl's loader for musl, and under qemu for arm64. Binaries that are not built or
// cannot run on this system are reported as skipped.
//
//   node scripts/prebuild-test.mjs linux-arm64-musl …    only these
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { hostTarget, prebuildPath, TARGETS, targetNamed } from './prebuild-targets.mjs';
import { arm64Emulator, muslNode, node } from './prebuild-tools.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const wanted = process.argv.length > 2 ? process.argv.slice(2).map(targetNamed) : TARGETS;
const host = hostTarget();
const work = mkdtempSync(join(tmpdir(), 'cc-lb-prebuilds-'));
const rows = {};
const failures = [];
for (const target of wanted) {
  if (!existsSync(join(root, prebuildPath(target)))) {
    rows[target.name] = { result: 'SKIPPED: not built' };
    continue;
  }
  for (const { how, command, env } of nodesOf(target)) {
    rows[`${target.name}, ${how}`] = check(target, command, env);
  }
}
rmSync(work, { recursive: true });
console.table(rows);
for (const failure of failures) console.error(`✗ ${failure}`);
process.exit(failures.length === 0 ? 0 : 1);

/** Returns the ways to run a target's Node on this machine: name, command and environment. */
function nodesOf({ platform, arch, libc, name }) {
  if (name === host?.name) return [{ how: 'this Node', command: [process.execPath], env: { LIBC: libc ?? '' } }];
  if (platform !== 'linux' || process.platform !== 'linux' || !['x64', 'arm64'].includes(process.arch)) return [];
  if (arch === 'x64' && process.arch !== 'x64') return [];
  const emulator = arch === process.arch ? [] : arm64Emulator();
  const by = emulator.length > 0 ? ' under qemu' : '';
  if (libc === 'glibc') {
    return ['20', '24'].map((line) => ({
      how: `Node ${line}${by}`,
      command: [...emulator, node(line, arch)],
      env: { LIBC: 'glibc' },
    }));
  }
  return [{ how: `musl 1.2.5${by}`, command: [...emulator, ...muslNode(arch)], env: { LIBC: 'musl' } }];
}

function check(target, command, env) {
  const { libc, name, platform, arch } = target;
  const started = Date.now();
  const settings = JSON.stringify(command.length > 1 ? { compileExecutable: executable(command) } : {});
  const smoke = run(command, ['scripts/prebuild-smoke.mjs'], { ...env, CC_LB_PACK_TEST_CONFIG: settings });
  const row = { result: smoke.ok ? smoke.text : 'FAILED', seconds: Math.round((Date.now() - started) / 100) / 10 };
  if (!smoke.ok) failures.push(`${name}: ${smoke.text}`);
  if (libc === undefined) return row;
  // With the binary of the other libc, the message must name the remedy.
  const other = libc === 'glibc' ? 'musl' : 'glibc';
  if (!existsSync(join(root, prebuildPath({ platform, arch, libc: other })))) {
    return { ...row, 'wrong libc': 'SKIPPED: not built' };
  }
  const load = "import('./dist/index.js').catch(({ message }) => console.log(message))";
  const { text } = run(command, ['-e', load], { LIBC: other });
  const explained = text.includes(`start Node with LIBC=${libc} in its environment`);
  if (!explained) failures.push(`${name}, wrong libc: ${text}`);
  return { ...row, 'wrong libc': explained ? 'explained' : 'FAILED' };
}

/** Writes an executable for a command of several words: the system cannot start the Node of an emulator or a loader. */
function executable(command) {
  const path = join(work, 'node');
  const words = command.map((word) => `'${word}'`).join(' ');
  writeFileSync(path, `#!/bin/sh\nexec ${words} "$@"\n`, { mode: 0o755 });
  return path;
}

function run([program, ...first], args, env) {
  const { status, signal, stdout, stderr, error } = spawnSync(program, [...first, ...args], {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, PREBUILDS_ONLY: '1', ...env },
    timeout: 900_000,
  });
  const ok = status === 0;
  return { ok, text: (ok ? stdout : `${error ?? signal ?? status} ${stdout}${stderr}`).trim() };
}
