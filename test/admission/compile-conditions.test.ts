/** Admission where the system lacks something: space on a disk, /proc, a working directory. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CompileCacheStats } from '../../src/index.ts';
import { bundleChildren, run, SUCCESS } from '../lifecycle/children.ts';

const folder = mkdtempSync(join(tmpdir(), 'cc-lb-conditions-'));
beforeAll(() => bundleChildren('admission'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let made = 0;
const newDirectory = () => join(folder, `modules-${made++}`);

/** Admits four plugins in a process of their own, and returns the counts of its directory. */
async function admits(config: object, shell = '', ...args: string[]): Promise<CompileCacheStats | null> {
  const ended = await run('admission', 'admits', [JSON.stringify(config), ...args], shell);
  expect(ended).toMatchObject(SUCCESS);
  return JSON.parse(ended.stdout);
}

const ON_LINUX = process.platform === 'linux';
/** Only root may mount, and only in a mount namespace of its own. */
const MAY_MOUNT = ON_LINUX && process.getuid?.() === 0;
const mounting = (commands: string) => `exec unshare --mount bash -c '${commands}; exec "$0" "$@"' "$0" "$@";`;

describe.runIf(process.platform !== 'win32')('a directory of compiled modules', () => {
  it('is filled by several processes at once, and each image in it is whole', async () => {
    const compileCacheDir = newDirectory();
    const stats = await Promise.all(Array.from({ length: 4 }, () => admits({ compileCacheDir })));
    for (const one of stats) expect(one).toMatchObject({ rejected: 0, writeFailures: 0 });
    expect(await admits({ compileCacheDir })).toMatchObject({ hits: 4, misses: 0, rejected: 0 });
    expect(readdirSync(compileCacheDir).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  it('costs the time to compile while files cannot be written, also without a key', async () => {
    const compileCacheDir = newDirectory();
    const full = { hits: 0, misses: 4, rejected: 0, writes: 0, writeFailures: 4 };
    expect(await admits({ compileCacheDir }, 'ulimit -f 0;')).toMatchObject(full);
    expect(readdirSync(compileCacheDir)).toEqual([]);
    expect(await admits({ compileCacheDir })).toMatchObject({ misses: 4, writes: 4 });
    expect(await admits({ compileCacheDir }, 'ulimit -f 0;')).toMatchObject({ hits: 4 });
  });

  it.runIf(MAY_MOUNT)('costs the time to compile on a full disk', async () => {
    const compileCacheDir = newDirectory();
    mkdirSync(compileCacheDir);
    const mount = `mount -t tmpfs -o size=16k,mode=700 none ${compileCacheDir}`;
    const stats = await admits({ compileCacheDir }, mounting(mount));
    expect(stats).toMatchObject({ hits: 0, misses: 4, rejected: 0 });
    expect(stats?.writeFailures).toBeGreaterThan(0);
  });

  it.runIf(MAY_MOUNT)('is read on a read-only disk, and costs the time to compile if it is empty', async () => {
    const compileCacheDir = newDirectory();
    mkdirSync(compileCacheDir, { mode: 0o700 });
    const readOnly = mounting(`mount --bind ${compileCacheDir} ${compileCacheDir}
      mount -o remount,bind,ro ${compileCacheDir}`);
    expect(await admits({ compileCacheDir }, readOnly)).toMatchObject({ misses: 4, writeFailures: 4 });
    await admits({ compileCacheDir });
    expect(await admits({ compileCacheDir }, readOnly)).toMatchObject({ hits: 4, rejected: 0, writeFailures: 0 });
  });
});

describe('a compile process', () => {
  it.runIf(MAY_MOUNT)('needs no /proc', async () => {
    // Without it, only the stack of a Worker is known.
    await admits({}, mounting('mount -t tmpfs none /proc'), 'in-worker');
  });

  it.runIf(ON_LINUX)('needs no working directory', async () => {
    const removed = newDirectory();
    mkdirSync(removed);
    const script = join(process.cwd(), 'build/children/admission/admits.js');
    const enter = `cd ${removed}; exec "$0" ${script} "\${@:2}";`;
    await admits({}, enter, 'without-cwd');
  });
});
