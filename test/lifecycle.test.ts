/** Process and thread lifecycles around guests. Each case runs in a child process that must not end by a signal. */
import { spawnSync } from 'node:child_process';
import { beforeAll, describe, expect, it } from 'vitest';
import { bundleChildren, run as runChild, SUCCESS } from './lifecycle/children.ts';

beforeAll(() => bundleChildren('lifecycle'));
const run = (name: string, args: readonly string[] = [], shell = '') => runChild('lifecycle', name, args, shell);

/** Whether this system supports the shell limit of a case: Windows supports none. */
const isSupported = ([, , shell]: readonly [string, unknown, string]) => shell === '' || process.platform !== 'win32';

/** Other C libraries do not return memory so eagerly. */
const usesGlibc = (process.report.getReport() as { header: { glibcVersionRuntime?: string } }).header
  .glibcVersionRuntime;

describe.runIf(usesGlibc)('bodies of answers', () => {
  it('are written to memory that earlier bodies left, which is not faulted in again', async () => {
    const faults = async (shell: string) => {
      const ended = await run('page-faults', [], shell);
      expect(ended).toMatchObject(SUCCESS);
      return Number(ended.stdout);
    };
    // A limit from the environment takes precedence: with it, glibc behaves as without the addon. It returns nothing while
    // another block happens to be at the end of the heap, so some processes have few faults.
    const limited = [];
    for (let count = 0; count < 3; count++) limited.push(await faults('export MALLOC_TRIM_THRESHOLD_=131072;'));
    expect(await faults('')).toBeLessThan(Math.max(...limited) / 2);
  });
});

describe('native stack', () => {
  const depths: [string, string[], string][] = [
    ['main', ['main'], ''],
    ['main under ulimit -s 2048', ['main'], 'ulimit -s 2048;'],
    ['a Worker', ['worker'], ''],
    ['a Worker of 2 MB', ['worker', '2'], ''],
    ['a Worker of 16 MB', ['worker', '16'], ''],
  ];
  it.each(depths.filter(isSupported))(
    'suffices for a call at every depth of JavaScript, or the call is rejected: %s',
    async (_, args, shell) => {
      const ended = await run('depths', args, shell);
      expect(ended).toMatchObject(SUCCESS);
      const { answered, refused } = JSON.parse(ended.stdout) as { answered: number; refused: number };
      expect(answered + refused).toBeGreaterThan(10);
    },
  );

  it('rejects calls near the end of a deep stack with StackExhaustedError', async () => {
    const { stdout } = await run('depths', ['worker', '2']);
    expect(JSON.parse(stdout).refused).toBeGreaterThan(0);
  });

  const small: [string, string, string][] = [
    ['main under ulimit -s 1024', 'main', 'ulimit -s 1024;'],
    ['a Worker of 1 MB', 'worker', ''],
  ];
  it.each(small.filter(isSupported))(
    'rejects guests that need more than the whole stack, and runs guests that need less: %s',
    async (_, where, shell) => {
      const ended = await run('small-stack', [where], shell);
      expect(ended).toMatchObject({ ...SUCCESS, stdout: 'refused when probing\na smaller guest answered\n' });
    },
  );
});

// Only Linux limits address space.
it.runIf(process.platform === 'linux').each(['1800000', '4000000'])(
  'calls succeed when address space is scarce, a pool reports the setting to lower, and streams are rejected: %s KiB',
  async (limit) => {
    const { stdout, ...ended } = await run('address-space', [], `ulimit -v ${limit};`);
    expect(ended).toMatchObject({ code: SUCCESS.code, signal: SUCCESS.signal });
    expect(stdout.trim().split('\n')).toEqual([
      'the pool names the setting to lower',
      'on-demand calls answer',
      'streams are rejected: address-space',
      'closed streams free it',
    ]);
  },
);

describe('signals', () => {
  it.each(['ours-first', 'v8-first'])("guests trap in a process where V8's own wasm traps: %s", async (order) => {
    expect(await run('with-v8', [order])).toMatchObject({ ...SUCCESS, stdout: 'survived\n' });
  });

  it.each(['v8-last', 'v8-first'])(
    'V8 handles its own traps after every Worker with the addon has ended: %s',
    async (order) => {
      expect(await run('worker-alone', [order])).toMatchObject({ ...SUCCESS, stdout: 'survived\n' });
    },
  );

  // On other systems than Linux, guests do not trap by signals.
  it.each([
    ['SIGSEGV', process.platform === 'linux'],
    ['SIGILL', process.platform === 'linux'],
    ['SIGFPE', process.platform === 'linux' && process.arch === 'x64'],
    ['SIGBUS', false],
  ])(
    'health reports a signal that a JavaScript listener replaced if guests trap by it: %s',
    async (signal, isReported) => {
      const ended = await run('signal-listener', [signal]);
      expect(ended).toMatchObject(SUCCESS);
      const [before, after] = ended.stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
      const well = { ok: true, problems: [] };
      expect(before).toEqual(well);
      expect(after).toEqual(isReported ? { ok: false, problems: [expect.stringContaining(signal)] } : well);
    },
  );
});

describe('deadlines', () => {
  const hasTaskset = spawnSync('taskset', ['-V']).status === 0;
  it.runIf(hasTaskset)('end an endless guest on one CPU that busy threads share', async () => {
    expect(await run('one-cpu', [], 'taskset -pc 0 $$ >/dev/null;')).toMatchObject({
      ...SUCCESS,
      stdout: 'every loop ended\n',
    });
  });
});

describe('calls in flight', () => {
  it('do not delay process.exit', async () => {
    expect(await run('in-flight', ['exit'])).toMatchObject({ ...SUCCESS, code: 7 });
  });

  it('do not delay a process that ends by an uncaught error', async () => {
    const { code, signal, stderr } = await run('in-flight', ['throw']);
    expect({ code, signal }).toEqual({ code: 1, signal: null });
    expect(stderr).toContain('deliberate');
  });

  it('finish when the runtime is closed', async () => {
    expect(await run('in-flight', ['close'])).toMatchObject({ ...SUCCESS, stdout: 'drained\n' });
  });

  it.each(['worker-exit', 'worker-throw'])(
    'end with their Worker, and their permits are free afterwards: %s',
    async (how) => {
      expect(await run('in-flight', [how])).toMatchObject({ ...SUCCESS, stdout: 'continued\n' });
    },
  );

  it('delay a terminated Worker at most until their deadline', async () => {
    expect(await run('in-flight', ['worker-terminate'])).toMatchObject({ ...SUCCESS, stdout: 'continued\n' });
  });

  it('free the answers that a terminated Worker does not receive', async () => {
    const ended = await run('answers');
    expect(ended).toMatchObject(SUCCESS);
    const { left, answers } = JSON.parse(ended.stdout) as { left: number; answers: number };
    expect(left).toBeLessThan(answers / 2);
  });
});

describe('a compilation of several minutes', () => {
  it('does not delay process.exit', async () => {
    expect(await run('compiling', ['exit'])).toMatchObject({ ...SUCCESS, code: 7 });
  });

  it('ends with a Worker that exits', async () => {
    expect(await run('compiling', ['worker-exit'])).toMatchObject({ ...SUCCESS, stdout: 'continued\n' });
  });

  it('ends with a Worker that is terminated', async () => {
    expect(await run('compiling', ['worker-terminate'])).toMatchObject({ ...SUCCESS, stdout: 'continued\n' });
  });
});

describe('a process without resources for a compile process', () => {
  it.runIf(process.platform === 'linux')(
    'reports a retryable error, not a bad module, while it has no descriptors',
    async () => {
      const ended = await run('no-resources', ['descriptors'], 'ulimit -n 256;');
      expect(ended).toMatchObject({ ...SUCCESS, stdout: 'admitted\nrejected, retryable\nadmitted\n' });
    },
  );

  // The limit counts the processes and threads of a user, and does not apply to root.
  const other = 'exec setpriv --reuid=64999 --clear-groups bash -c \'ulimit -u 12; exec "$0" "$@"\' "$0" "$@";';
  it.runIf(process.platform === 'linux' && process.getuid?.() === 0)(
    'reports a retryable error, not a bad module, while it has no processes',
    async () => {
      const ended = await run('no-resources', ['processes'], other);
      expect(ended).toMatchObject({ ...SUCCESS, stdout: 'rejected, retryable\n' });
    },
  );
});
