/** A C++ addon with signal handlers, a busy allocator and real crashes of its own, in one process with guests. */
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { bundleChildren, run, WELL } from './lifecycle/children.ts';

const folder = fileURLToPath(new URL('neighbour', import.meta.url));
const root = fileURLToPath(new URL('..', import.meta.url));

beforeAll(() => {
  const nodeGyp = join(root, 'node_modules/node-gyp/bin/node-gyp.js');
  // The headers that came with this Node: nothing is downloaded.
  const headers = process.env.CC_LB_NODE_HEADERS || dirname(dirname(process.execPath));
  const build = spawnSync(process.execPath, [nodeGyp, 'rebuild', `--nodedir=${headers}`], {
    cwd: folder,
    encoding: 'utf8',
  });
  expect(build.status, build.stderr).toBe(0);
  bundleChildren('neighbour');
}, 180_000);

const beside = (order: string, crash: string) => run('neighbour', 'beside', [order, crash]);

describe.skipIf(process.platform === 'win32')('a neighbour', () => {
  it.each([
    // Whoever installs last is asked first and hands on what is not theirs: behind us, the neighbour sees V8's traps alone.
    { order: 'absent', seen: false, ok: true },
    { order: 'first', seen: true, ok: true },
    { order: 'last', seen: true, ok: false },
  ])('with its handlers $order leaves guests their traps', async ({ order, seen, ok }) => {
    const ended = await beside(order, 'none');
    expect(ended).toMatchObject(WELL);
    expect(JSON.parse(ended.stdout)).toEqual({ seen, ok });
  });

  it.each(['here', 'thread', 'illegal', 'abort'])('that crashes (%s) crashes as it would without us', async (crash) => {
    const alone = await beside('alone', crash);
    expect(alone.signal).not.toBeNull();
    for (const order of ['absent', 'first', 'last']) {
      const { code, signal } = await beside(order, crash);
      expect({ order, code, signal }).toEqual({ order, code: alone.code, signal: alone.signal });
    }
  });
});
