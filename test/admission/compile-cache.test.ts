/** A directory of compiled modules: what one process compiled, others load, and nothing else is loaded. */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { admitWasm, admitWasmAsync, EngineInitError, type HotEngineConfigInput } from '../../src/index.ts';
import { thrown } from '../support/errors.ts';
import { guest } from '../support/guest.ts';
import { isolatedRuntime, STRATEGIES } from '../support/runtimes.ts';
import { unique } from '../support/unique.ts';

const folder = mkdtempSync(join(tmpdir(), 'cc-lb-modules-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let made = 0;
const newDirectory = () => join(folder, `modules-${made++}`);
const images = (directory: string) => readdirSync(directory).filter((name) => name.endsWith('.image'));

/** A runtime whose engine has compiled nothing, so that only the directory can have a module. */
const runtimeOf = (compileCacheDir: string, config: HotEngineConfigInput = {}) =>
  isolatedRuntime({ compileCacheDir, ...config });

describe.runIf(process.platform !== 'win32')('a directory of compiled modules', () => {
  it.each(STRATEGIES)('has what another engine compiled, allocated $strategy', async ({ config }) => {
    const directory = newDirectory();
    const bytes = unique(guest());
    admitWasm(runtimeOf(directory, config), bytes);
    expect(images(directory)).toHaveLength(1);
    // Nothing can be compiled here.
    const later = runtimeOf(directory, { ...config, compileExecutable: '/nowhere/node' });
    expect(admitWasm(later, bytes).metadata.name).toBe('guest');
    expect((await admitWasmAsync(runtimeOf(directory, config), bytes)).metadata.name).toBe('guest');
    expect(later.stats().compileCache).toMatchObject({ hits: 2, misses: 1, rejected: 0, writes: 1 });
  });

  it('has other modules for other engine settings', () => {
    const directory = newDirectory();
    const bytes = unique(guest());
    admitWasm(runtimeOf(directory), bytes);
    admitWasm(runtimeOf(directory, { memoryReservationBytes: 2 ** 33 }), bytes);
    expect(images(directory)).toHaveLength(2);
  });

  it('rejects a file that was altered, truncated or renamed, and compiles its module again', () => {
    const directory = newDirectory();
    const [bytes, other] = [unique(guest()), unique(guest())];
    admitWasm(runtimeOf(directory), bytes);
    const path = join(directory, images(directory)[0]!);
    admitWasm(runtimeOf(directory), other);
    const renamed = readFileSync(join(directory, images(directory).find((name) => !path.endsWith(name))!));
    const whole = readFileSync(path);
    const altered = Buffer.from(whole);
    altered[whole.length - 1]! ^= 1;
    for (const contents of [altered, whole.subarray(0, -1), Buffer.concat([whole, whole]), renamed, Buffer.alloc(0)]) {
      writeFileSync(path, contents);
      expect(admitWasm(runtimeOf(directory), bytes).metadata.name).toBe('guest');
      expect(readFileSync(path)).toEqual(whole);
    }
    expect(runtimeOf(directory).stats().compileCache).toMatchObject({ hits: 0, rejected: 5, writes: 7 });
  });

  it('rejects modules of another key', () => {
    const directory = newDirectory();
    const bytes = unique(guest());
    admitWasm(runtimeOf(directory, { compileCacheKey: 'ab'.repeat(32) }), bytes);
    const other = runtimeOf(directory, { compileCacheKey: 'cd'.repeat(32) });
    admitWasm(other, bytes);
    expect(other.stats().compileCache).toMatchObject({ hits: 0, rejected: 1 });
  });

  it('belongs to its user alone', () => {
    const directory = newDirectory();
    admitWasm(runtimeOf(directory), unique(guest()));
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    for (const name of readdirSync(directory)) expect(statSync(join(directory, name)).mode & 0o777).toBe(0o600);
    const open = newDirectory();
    mkdirSync(open);
    chmodSync(open, 0o777);
    expect(thrown(EngineInitError, () => runtimeOf(open)).message).toMatch(/config.compileCacheDir: .*chmod 700/);
    const file = newDirectory();
    writeFileSync(file, '');
    expect(thrown(EngineInitError, () => runtimeOf(file)).message).toContain('config.compileCacheDir: ');
  });

  it('is bounded', () => {
    const directory = newDirectory();
    const data = `(data (i32.const 65536) "${'x'.repeat(400_000)}")`;
    const runtime = runtimeOf(directory, { maxCompileCacheBytes: 2 ** 20 });
    for (let count = 0; count < 4; count++) admitWasm(runtime, unique(guest({ memory: '20', fields: data })));
    const total = images(directory).reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
    expect(total).toBeLessThanOrEqual(2 ** 20);
    expect(runtime.stats().compileCache?.evictions).toBeGreaterThan(0);
  });

  it('may be read-only, so that each module is compiled', () => {
    const directory = newDirectory();
    const runtime = runtimeOf(directory, { compileCacheKey: 'ab'.repeat(32) });
    rmSync(directory, { recursive: true });
    expect(admitWasm(runtime, unique(guest())).metadata.name).toBe('guest');
    expect(runtime.stats().compileCache).toMatchObject({ misses: 1, writes: 0, writeFailures: 1 });
  });
});
