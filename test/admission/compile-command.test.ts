/** Executables that do not run a compile process or pretend to: each causes a specific error, and nothing hangs. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { admitWasm, CompileProcessError, ModuleCompileError } from '../../src/index.ts';
import { thrown } from '../support/errors.ts';
import { guest } from '../support/guest.ts';
import { isolatedRuntime } from '../support/runtimes.ts';
import { unique } from '../support/unique.ts';

const folder = mkdtempSync(join(tmpdir(), 'cc-lb-executables-'));
afterAll(() => rmSync(folder, { recursive: true }));

const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
/** What the scripts share: the protocol as far as they keep to it. */
const PRELUDE = `
  const { readSync, writeSync } = require('node:fs');
  const ready = () => writeSync(1, 'cc-lb-compile ${version}\\n');
  const job = () => readSync(0, Buffer.alloc(1 << 16));
  const word = (value) => { const bytes = Buffer.alloc(8); bytes.writeBigUInt64LE(BigInt(value)); return bytes; };
  const answer = (status, size, payload = '') =>
    writeSync(1, Buffer.concat([word(status), word(size), Buffer.alloc(32), Buffer.from(payload)]));
  const stay = () => setTimeout(() => {}, 1 << 30);
`;
let made = 0;

/** An executable that runs this script. */
function script(source: string, mode = 0o755): string {
  const path = join(folder, `script-${made++}`);
  writeFileSync(path, `#!${process.execPath}\n${PRELUDE}${source}`);
  chmodSync(path, mode);
  return path;
}

const admitWith = (compileExecutable: string) => {
  const runtime = isolatedRuntime({ compileExecutable, compileTimeoutMs: 1_000, maxImageBytes: 2 ** 20 });
  return () => admitWasm(runtime, unique(guest()));
};

describe.runIf(process.platform !== 'win32')('an executable', () => {
  it.each([
    ['does not exist', () => '/nowhere/node', /cannot be started/],
    ['may not be executed', () => script('', 0o644), /cannot be started/],
    ['ends', () => script('process.exit(3)'), /ended with exit code 3/],
    ['ends with a message', () => script('throw new Error("deliberate")'), /ended with exit code 1: .*script-\d+/],
    [
      'answers something else',
      () => script('for (;;) writeSync(1, "y\\n".repeat(1000))'),
      /sends an answer that the protocol/,
    ],
    [
      'is of another version',
      () => script('writeSync(1, "cc-lb-compile 0.0.0\\n"); stay()'),
      /sends an answer that the protocol/,
    ],
    [
      'sends an invalid answer',
      () => script('ready(); job(); writeSync(1, Buffer.alloc(100, 0xff)); stay()'),
      /sent an invalid answer/,
    ],
    [
      'answers before it is asked',
      () => script('ready(); answer(0, 1, "x"); stay()'),
      /sent an invalid answer|another module/,
    ],
    ['answers half', () => script('ready(); job(); answer(0, 1000, "half")'), /ended with exit code 0/],
    ['answers too much', () => script('ready(); job(); answer(0, 1, "more"); stay()'), /sent an invalid answer/],
    [
      'answers a message without end',
      () => script('ready(); job(); answer(1, 1 << 20); stay()'),
      /sent an invalid answer/,
    ],
    ['answers for another module', () => script('ready(); job(); answer(0, 1, "x"); stay()'), /another module/],
  ])('that %s is reported as such, and blames no module', (_, executable, message) => {
    const error = thrown(CompileProcessError, admitWith(executable()));
    expect(error).toMatchObject({ code: 'CC_LB_COMPILE_PROCESS', retryable: false });
    expect(error.message).toMatch(message);
  });

  it.each([
    ['never answers', 'ready(); job(); stay()', 'time'],
    ['never reads', 'ready(); stay()', 'time'],
    ['closes its output and stays', 'ready(); job(); require("node:fs").closeSync(1); stay()', 'time'],
    ['answers slowly', 'ready(); job(); answer(0, 1000); setInterval(() => writeSync(1, "x"), 50)', 'time'],
    ['writes to stderr without end', 'ready(); job(); for (;;) writeSync(2, "e".repeat(1000))', 'time'],
    ['announces too large an image', 'ready(); job(); answer(0, 2 ** 20 + 1); stay()', 'image'],
  ])('that %s costs a module its time', (_, source, reason) => {
    const error = thrown(ModuleCompileError, admitWith(script(source)));
    expect(error).toMatchObject({ reason, retryable: false });
  });
});

it('a compile process does not start another compile process', () => {
  process.env.CC_LB_RUNTIME_WASMTIME_COMPILE_PROCESS = '1';
  try {
    const error = thrown(CompileProcessError, () => admitWasm(isolatedRuntime(), guest()));
    expect(error.message).toContain("compileIn: 'thread'");
  } finally {
    delete process.env.CC_LB_RUNTIME_WASMTIME_COMPILE_PROCESS;
  }
});

it.each(['/opt/application/server', '/opt/node-server/main', 'node'])(
  'the application itself is never started as a compile process: %s',
  (execPath) => {
    const own = process.execPath;
    process.execPath = execPath;
    try {
      const error = thrown(CompileProcessError, () => admitWasm(isolatedRuntime(), guest()));
      expect(error.message).toContain(
        `${execPath} is not known to be Node: set compileExecutable to a Node executable`,
      );
    } finally {
      process.execPath = own;
    }
  },
);
