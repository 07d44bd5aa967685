/** Processes and threads that come and go around guests. Each case is a child, and no signal may end it. */
import { spawnSync } from 'node:child_process';
import { beforeAll, describe, expect, it } from 'vitest';
import { bundleChildren, run as runChild, WELL } from './lifecycle/children.ts';

beforeAll(() => bundleChildren('lifecycle'));
const run = (name: string, args: readonly string[] = [], shell = '') => runChild('lifecycle', name, args, shell);

/** Whether this system has the limit that a case puts on its shell: Windows has none. */
const isHere = ([, , shell]: readonly [string, unknown, string]) => shell === '' || process.platform !== 'win32';

describe('the native stack', () => {
  const depths: [string, string[], string][] = [
    ['main', ['main'], ''],
    ['main under ulimit -s 2048', ['main'], 'ulimit -s 2048;'],
    ['a Worker', ['worker'], ''],
    ['a Worker of 2 MB', ['worker', '2'], ''],
    ['a Worker of 16 MB', ['worker', '16'], ''],
  ];
  it.each(depths.filter(isHere))(
    'suffices at every depth of JavaScript, or the call is refused: %s',
    async (_, args, shell) => {
      const ended = await run('depths', args, shell);
      expect(ended).toMatchObject(WELL);
      const { answered, refused } = JSON.parse(ended.stdout) as { answered: number; refused: number };
      expect(answered + refused).toBeGreaterThan(10);
    },
  );

  it('is refused as exhausted at the bottom of a deep stack', async () => {
    const { stdout } = await run('depths', ['worker', '2']);
    expect(JSON.parse(stdout).refused).toBeGreaterThan(0);
  });

  const small: [string, string, string][] = [
    ['main under ulimit -s 1024', 'main', 'ulimit -s 1024;'],
    ['a Worker of 1 MB', 'worker', ''],
  ];
  it.each(small.filter(isHere))(
    'that is too small for any guest is told, and a smaller guest fits: %s',
    async (_, where, shell) => {
      const ended = await run('small-stack', [where], shell);
      expect(ended).toMatchObject({ ...WELL, stdout: 'refused when probing\na smaller guest answered\n' });
    },
  );
});

// Elsewhere nothing limits address space.
it.runIf(process.platform === 'linux').each(['1800000', '4000000'])(
  'address space that is short stops a pool, but no call on demand: %s KiB',
  async (limit) => {
    const ended = await run('address-space', [], `ulimit -v ${limit};`);
    expect(ended).toMatchObject({ ...WELL, stdout: 'a pool is told what to lower\ncalls on demand answer\n' });
  },
);

describe('signals', () => {
  it.each(['ours-first', 'v8-first'])("traps go beside V8's own: %s", async (order) => {
    expect(await run('beside-v8', [order])).toMatchObject({ ...WELL, stdout: 'survived\n' });
  });

  it.each(['v8-last', 'v8-first'])('V8 traps after Workers that alone loaded the addon: %s', async (order) => {
    expect(await run('worker-alone', [order])).toMatchObject({ ...WELL, stdout: 'survived\n' });
  });

  it('that JavaScript took are told by health', async () => {
    const ended = await run('signal-listener');
    expect(ended).toMatchObject(WELL);
    const [before, after] = ended.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(before).toEqual({ ok: true, problems: [] });
    expect(after).toEqual({ ok: false, problems: [expect.stringContaining('SIGSEGV')] });
  });
});

describe('time', () => {
  const hasTaskset = spawnSync('taskset', ['-V']).status === 0;
  it.runIf(hasTaskset)('of an endless guest ends on one CPU that busy threads share', async () => {
    expect(await run('one-cpu', [], 'taskset -pc 0 $$ >/dev/null;')).toMatchObject({
      ...WELL,
      stdout: 'every loop ended\n',
    });
  });
});

describe('calls in flight', () => {
  it('do not keep a process that exits', async () => {
    expect(await run('in-flight', ['exit'])).toMatchObject({ ...WELL, code: 7 });
  });

  it('do not keep a process that ends by an uncaught error', async () => {
    const { code, signal, stderr } = await run('in-flight', ['throw']);
    expect({ code, signal }).toEqual({ code: 1, signal: null });
    expect(stderr).toContain('deliberate');
  });

  it('finish when the runtime is closed', async () => {
    expect(await run('in-flight', ['close'])).toMatchObject({ ...WELL, stdout: 'drained\n' });
  });

  it.each(['worker-exit', 'worker-throw'])('go with their Worker, and what they held is free: %s', async (how) => {
    expect(await run('in-flight', [how])).toMatchObject({ ...WELL, stdout: 'went on\n' });
  });

  it('keep a terminated Worker for no longer than their deadline', async () => {
    expect(await run('in-flight', ['worker-terminate'])).toMatchObject({ ...WELL, stdout: 'went on\n' });
  });
});

describe('a compilation that takes minutes', () => {
  it('does not keep a process that exits', async () => {
    expect(await run('compiling', ['exit'])).toMatchObject({ ...WELL, code: 7 });
  });

  it('does not keep a Worker that exits', async () => {
    expect(await run('compiling', ['worker-exit'])).toMatchObject({ ...WELL, stdout: 'went on\n' });
  });

  it('keeps a terminated Worker for no longer than its limit', async () => {
    expect(await run('compiling', ['worker-terminate'])).toMatchObject({ ...WELL, stdout: 'went on\n' });
  });
});
