import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { run } from '../src/cli/run.ts';
import { HOOK_KINDS } from '../src/types.ts';
import { guest } from './support/guest.ts';

/** The built command. */
const main = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), 'cc-lb-plugin-'));
afterAll(() => rmSync(scratch, { recursive: true }));

function wasm(name: string): string {
  return fileURLToPath(new URL(`plugins/wasm/${name}.wasm`, import.meta.url));
}

function file(name: string, content: unknown): string {
  const path = join(scratch, name);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

/** Runs a command line in this process; returns its output and exit code. */
async function cli(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  const out: string[] = [];
  const err: string[] = [];
  const code = await run(argv, { out: (text) => out.push(text), err: (text) => err.push(text) });
  return { code, out: out.join('\n'), err: err.join('\n') };
}

/** Runs a command line with --json, expects exit code `expected` and returns the parsed output. */
async function cliJson(expected: number, ...argv: string[]) {
  const { code, out } = await cli(...argv, '--json');
  expect(code).toBe(expected);
  return JSON.parse(out);
}

/** Writes the sample of a hook, with changes to its fields, to a file. */
async function request(
  hook: string,
  name: string,
  change: (sample: Record<string, object>) => object,
): Promise<string> {
  const { out } = await cli('call', wasm('transforms'), '--hook', hook, '--print-sample');
  return file(name, change(JSON.parse(out)));
}

describe('inspect', () => {
  it('prints the facts of a plugin', async () => {
    const { code, out } = await cli('inspect', wasm('transforms'));
    expect(code).toBe(0);
    expect(out).toMatch(/^plugin +transforms 1\.0\.0$/m);
    expect(out).toMatch(/^transform_sse_event +active +af8e6292 +0\.1\.1, 0\.1\.2, 0\.2\.0$/m);
    expect(out).toContain('no problems');
    const json = await cliJson(0, 'inspect', wasm('transforms-noop'));
    expect(json.hooks.map(({ mode }: { mode: string }) => mode)).toEqual(['active', 'noop', 'noop']);
    expect(json.hooks[0].fingerprint).toMatch(/^4d8dc514[0-9a-f]{56}$/);
    expect(json.size).toBe(readFileSync(wasm('transforms-noop')).length);
  });

  it('prints every problem and exits with 1', async () => {
    const { code, out } = await cli('inspect', file('text.wasm', 'no wasm'));
    expect(code).toBe(1);
    expect(out.match(/^✗ /gm)!.length).toBeGreaterThan(3);
    const json = await cliJson(1, 'inspect', wasm('rewrite'), '--kind', 'filter');
    expect(json.problems).toEqual([expect.stringContaining('hooks.filter')]);
  });
});

describe('admit', () => {
  it('prints the admitted plugin', async () => {
    const { code, out } = await cli('admit', wasm('cache-aware'));
    expect(code).toBe(0);
    expect(out).toMatch(/^admitted +cache-aware 1\.0\.0$/m);
    const json = await cliJson(0, 'admit', wasm('cache-aware'), '--config', file('c.json', { memoryMaxPages: 64 }));
    expect(json.admitted).toBe(true);
    expect(json.contentHash).toMatch(/^[0-9a-f]{64}$/);
    expect(out).not.toContain(json.contentHash);
  });

  it('prints the reason of a rejection and exits with 1', async () => {
    const text = file('text.wasm', 'no wasm');
    const { code, err } = await cli('admit', text);
    expect(code).toBe(1);
    expect(err).toContain('CC_LB_MODULE_REJECTED');
    const { error } = await cliJson(1, 'admit', wasm('rewrite'), '-k', 'filter');
    expect(error).toMatchObject({ code: 'CC_LB_MODULE_REJECTED', reason: expect.stringContaining('hooks.filter') });
  });
});

describe('call', () => {
  it.each(HOOK_KINDS)('calls %s with a sample', async (hook) => {
    expect((await cli('call', wasm('report-0-1-2'), '--hook', hook)).code).toBe(hook === 'observe' ? 1 : 0);
  });

  it('prints which candidates a filter keeps', async () => {
    const { out } = await cli('call', wasm('cache-aware'), '--hook', 'filter');
    expect(out).toMatch(/^00000000-0000-4000-8000-000000000003 +kept$/m);
    expect(out).toMatch(/^0{8}-0000-4000-8000-0{11}1 +rejected_by_plugin +1000 cached tokens, 3000 needed$/m);
  });

  it('reads a request from a file', async () => {
    const path = await request('filter', 'keep.json', (sample) => ({
      ...sample,
      principal: { id: 'p', kind: 'api_key', claims: { keep: 2 } },
    }));
    const { keptUpstreamIds } = await cliJson(0, 'call', wasm('cache-aware'), '-k', 'filter', '-r', path);
    expect(keptUpstreamIds).toHaveLength(2);
  });

  it('prints the request that a shape writes, with its body as text or base64', async () => {
    const { out } = await cli('call', wasm('rewrite'), '--hook', 'shape');
    expect(out.split('\n')[0]).toBe('POST https://example.test/v1/messages');
    expect(out).toMatch(/^x-shaped-by: rewrite\/1\.0\.0$/m);
    const path = await request('shape', 'bytes.json', ({ context, ...rest }) => {
      const { body: _, ...others } = context as { body: string };
      return { ...rest, context: { ...others, bodyBase64: '/+8=' } };
    });
    const json = await cliJson(0, 'call', wasm('rewrite'), '-k', 'shape', '-r', path);
    expect(json).toMatchObject({ url: 'https://example.test/v1/messages', bodyBase64: '/+8=' });
    expect((await cli('call', wasm('rewrite'), '-k', 'shape', '-r', path)).out).toContain(
      '2 bytes that are not UTF-8 text',
    );
  });

  it.each([
    ['transform_response', 'status:418', 'replaced: 418'],
    ['transform_response', 'body', '"CONTENT"'],
    ['transform_response', 'other', 'unchanged'],
    ['transform_sse_event', 'repeat:2', 'replaced by 2\n\nevent: content_block_start\ndata: {'],
    ['transform_sse_event', 'drop', 'dropped'],
  ])('prints the result of %s with %s', async (hook, transform, expected) => {
    const path = await request(hook, 'transform.json', (sample) => ({
      ...sample,
      principal: { id: 'p', kind: 'api_key', claims: { transform } },
    }));
    const { code, out } = await cli('call', wasm('transforms'), '-k', hook, '-r', path);
    expect(code).toBe(0);
    expect(out).toContain(expected);
  });

  it('prints the error of a failed call and exits with 1', async () => {
    expect((await cli('call', wasm('lifecycle'), '-k', 'observe')).out).toBe('observed');
    const path = await request('filter', 'loop.json', (sample) => ({
      ...sample,
      principal: { id: 'p', kind: 'api_key', claims: { do: 'loop' } },
    }));
    const argv = ['call', wasm('misbehave'), '-k', 'filter', '-r', path, '--deadline', '30'];
    const { code, err } = await cli(...argv);
    expect(code).toBe(1);
    expect(err).toContain('CC_LB_FILTER');
    const { error } = await cliJson(1, ...argv);
    expect(error).toMatchObject({ kind: 'trap', cause: { code: 'CC_LB_GUEST_TRAP', trap: 'interrupt' } });
  });
});

describe('bench', () => {
  it.each(['inline', 'thread'])('measures calls with --where %s', async (where) => {
    const argv = ['bench', wasm('cache-aware'), '-k', 'filter', '-s', '0', '--where', where];
    const { code, out } = await cli(...argv);
    expect(code).toBe(0);
    expect(out).toMatch(/^hook +config +where +calls +p50 µs +p99 µs/);
    const json = await cliJson(0, ...argv, '-c', 'production');
    expect(json).toMatchObject({ hook: 'filter', where, config: 'production' });
    expect(json.calls).toBeGreaterThan(0);
    expect(json.p50Micros).toBeGreaterThan(0);
    expect(json.p99Micros).toBeGreaterThanOrEqual(json.p50Micros);
    expect(json.maxMicros).toBeGreaterThanOrEqual(json.p99Micros);
  });
});

describe('cc-lb-plugin', () => {
  it.each([[], ['help'], ['--help'], ['help', '--json'], ['inspect', '--help'], ['bench', '-h']])(
    'prints help for %j',
    async (...argv) => {
      const { code, out } = await cli(...argv);
      expect(code).toBe(0);
      expect(out).toContain('Exit codes');
    },
  );

  it.each(['inspect', 'admit', 'call', 'explain', 'bench'])(
    'describes every option of %s in its help',
    async (command) => {
      const { out } = await cli(command, '--help');
      const [lines] = out.split('\n\n') as [string];
      for (const [option] of lines.matchAll(/--[\w-]+/g)) expect(out).toMatch(new RegExp(`^${option}\\b.{8}`, 'm'));
      expect(await cli('help', command)).toEqual({ code: 0, out, err: '' });
    },
  );

  it('names an unknown option, without advice about positional arguments', async () => {
    const { error } = await cliJson(2, 'inspect', 'a.wasm', '--loud');
    expect(error.message).toBe("Unknown option '--loud'");
  });

  it.each([
    [['describe', 'x.wasm'], 'unknown command "describe"'],
    [['toString'], 'unknown command "toString"'],
    [['help', 'describe'], 'unknown command "describe"'],
    [['inspect'], 'expected one file'],
    [['inspect', 'a.wasm', 'b.wasm'], 'expected one file'],
    [['inspect', 'a.wasm', '--loud'], '--loud'],
    [['inspect', join(scratch, 'absent.wasm')], 'ENOENT'],
    [['inspect', wasm('rewrite'), '--kind', 'nothing'], '--kind'],
    [['call', wasm('rewrite')], '--hook'],
    [['call', '--hook', 'shape'], 'expected one file'],
    [['call', wasm('rewrite'), '-k', 'shape', '-r', wasm('rewrite')], 'rewrite.wasm'],
    [['call', wasm('rewrite'), '-k', 'shape', '-r', file('null.json', 'null')], 'expected a JSON object'],
    [['call', wasm('rewrite'), '-k', 'shape', '-r', file('list.json', '[]')], 'expected a JSON object'],
    [['call', wasm('rewrite'), '-k', 'shape', '-r', file('empty.json', '{}')], 'request.context: expected an object'],
    [['call', wasm('rewrite'), '-k', 'shape', '--deadline', 'soon'], '--deadline'],
    [['call', wasm('rewrite'), '-k', 'shape', '--deadline', '0'], '--deadline: expected an integer of at least 1'],
    [['admit', wasm('rewrite'), '-c', file('unknown.json', { memory: 1 })], 'config.memory'],
    [['admit', wasm('rewrite'), '-c', 'prod'], '--config: expected default, production, low-latency, or a JSON file'],
    [['bench', wasm('rewrite'), '-k', 'shape', '--where', 'here'], '--where'],
    [
      ['bench', wasm('masker'), '-k', 'transform_sse_event', '-r', file('events.json', { events: [] })],
      '--where: a list of events requires thread',
    ],
  ])('exits with 2 for %j', async (argv, message) => {
    const { code, out, err } = await cli(...argv);
    expect(code).toBe(2);
    expect(out).toBe('');
    expect(err).toContain(message);
    const { error } = await cliJson(2, ...argv);
    expect(error).toMatchObject({ code: expect.stringMatching(/^CC_LB_(USAGE|INVALID_ARGUMENT)$/) });
    expect(error.message).toContain(message);
  });

  it('escapes control characters in metadata', async () => {
    const metadata = { name: '\u001b[2Jevil', description: 'x\nno problems', usage: 'a\u0085b\u202ec' };
    const path = join(scratch, 'evil.wasm');
    writeFileSync(path, guest({ metadata, memory: '2', hooks: ['filter'], schema: 0 }));
    for (const command of ['inspect', 'admit']) {
      const { out } = await cli(command, path);
      expect(out).toContain('\\u001b[2Jevil');
      // biome-ignore lint/suspicious/noControlCharactersInRegex: the test matches control characters
      expect(out).not.toMatch(/[\0-\x09\x0b-\x1f\x7f-\x9f]/);
    }
    expect((await cli('inspect', path)).out).toContain('x\\u000ano problems');
    expect((await cli('inspect', path)).out).toContain('a\\u0085b\\u202ec');
    expect((await cli('inspect', path, '--json')).out).toContain('a\\u0085b\\u202ec');
    expect((await cliJson(0, 'inspect', path)).metadata).toMatchObject(metadata);
  });

  it('escapes control characters in messages about files and commands', async () => {
    const argv = ['call', wasm('rewrite'), '-k', 'shape', '-r', file('escape.json', '\u001b]0;title\u0007')];
    for (const line of [argv, ['inspect', '\u001b[2J.wasm'], ['\u009b2J']]) {
      const { code, err } = await cli(...line);
      expect(code).toBe(2);
      expect(err).toContain('\\u00');
      // biome-ignore lint/suspicious/noControlCharactersInRegex: the test matches control characters
      expect(err).not.toMatch(/[\0-\x09\x0b-\x1f\x7f-\x9f]/);
    }
  });

  it('prints a sample without a module', async () => {
    const { code, out } = await cli('call', '--hook', 'shape', '--print-sample');
    expect(code).toBe(0);
    expect(Object.keys(JSON.parse(out))).toEqual(['context', 'upstream', 'principal']);
  });

  it.each(['call', 'bench'])('rejects a %s of a hook that the plugin does not declare', async (command) => {
    const { code, err } = await cli(command, wasm('rewrite'), '--hook', 'transform_response');
    expect([code, err]).toEqual([1, expect.stringContaining('hooks.transform_response: not declared')]);
  });

  it('runs as the built command', () => {
    const built = spawnSync(process.execPath, [main, 'inspect', wasm('cache-aware')], { encoding: 'utf8' });
    expect(built).toMatchObject({ status: 0, stderr: '' });
    expect(built.stdout).toContain('cache-aware 1.0.0');
    const refused = spawnSync(process.execPath, [main, 'admit', wasm('cache-aware'), '-k', 'shape'], {
      encoding: 'utf8',
    });
    expect(refused.status).toBe(1);
  });

  it.skipIf(process.platform === 'win32')('exits with the same code when its output pipe is closed', () => {
    const script = 'set -o pipefail; "$0" "$@" | true';
    for (const [argv, status] of [
      [['admit', wasm('cache-aware')], 0],
      [['admit', wasm('cache-aware'), '-k', 'shape', '--json'], 1],
    ] as const) {
      const command = ['-c', script, process.execPath, main, ...argv];
      expect(spawnSync('bash', command, { encoding: 'utf8' })).toMatchObject({ status, stderr: '' });
    }
  });

  it.runIf(existsSync('/dev/full'))('exits with 4 when its output cannot be written', () => {
    const full = openSync('/dev/full', 'w');
    const command = [main, 'admit', wasm('cache-aware')];
    const result = spawnSync(process.execPath, command, { encoding: 'utf8', stdio: ['ignore', full, 'pipe'] });
    expect(result.status).toBe(4);
    expect(result.stderr).toMatch(/^cc-lb-plugin: cannot write: ENOSPC.*\n$/);
    closeSync(full);
  });

  it('prints its version, also when the addon does not load', () => {
    const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
    const env = { ...process.env, CC_LB_RUNTIME_WASMTIME_BINARY: join(scratch, 'none.node') };
    for (const flag of ['--version', '-v']) {
      const result = spawnSync(process.execPath, [main, flag], { encoding: 'utf8', env });
      expect(result).toMatchObject({ status: 0, stdout: `${version}\n`, stderr: '' });
    }
  });
});
