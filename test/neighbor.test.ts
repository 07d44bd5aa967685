/** Guests in one process with a C++ addon that has its own signal handlers, a busy allocator and real crashes. */
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { bundleChildren, run, SUCCESS } from './lifecycle/children.ts';

const folder = fileURLToPath(new URL('neighbor', import.meta.url));
const root = fileURLToPath(new URL('..', import.meta.url));

beforeAll(() => {
  const nodeGyp = join(root, 'node_modules/node-gyp/bin/node-gyp.js');
  // Uses the headers of the installed Node, so that node-gyp downloads nothing.
  const headers = process.env.CC_LB_NODE_HEADERS || dirname(dirname(process.execPath));
  const build = spawnSync(process.execPath, [nodeGyp, 'rebuild', `--nodedir=${headers}`], {
    cwd: folder,
    encoding: 'utf8',
  });
  expect(build.status, build.stderr).toBe(0);
  bundleChildren('neighbor');
}, 180_000);

const runWith = (order: string, crash: string) => run('neighbor', 'neighbor', [order, crash]);

describe.skipIf(process.platform === 'win32')('another addon with signal handlers', () => {
  it.each([
    // The handler installed last runs first and forwards foreign signals. An addon installed first sees only V8's traps.
    { order: 'absent', seen: false, ok: true },
    { order: 'first', seen: true, ok: true },
    { order: 'last', seen: true, ok: false },
  ])('does not affect guest traps with its handlers $order', async ({ order, seen, ok }) => {
    const ended = await runWith(order, 'none');
    expect(ended).toMatchObject(SUCCESS);
    expect(JSON.parse(ended.stdout)).toEqual({ seen, ok });
  });

  it.each(['here', 'thread', 'illegal', 'abort'])(
    'ends the process by the same signal as without the runtime when it crashes: %s',
    async (crash) => {
      const alone = await runWith('alone', crash);
      expect(alone.signal).not.toBeNull();
      for (const order of ['absent', 'first', 'last']) {
        const { code, signal } = await runWith(order, crash);
        expect({ order, code, signal }).toEqual({ order, code: alone.code, signal: alone.signal });
      }
    },
  );
});
