import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { buildSync } from 'esbuild';
import { afterEach, describe, expect, it } from 'vitest';
import { VERSION } from '../../src/package.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const addon: string = createRequire(import.meta.url)('node-gyp-build').path(root);
const platform = `${process.platform}-${process.arch}`;
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
const PERMISSION = major > 23 || (major === 23 && minor >= 5) || (major === 22 && minor >= 13);
const permission = PERMISSION ? '--permission' : '--experimental-permission';

const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
const onGlibc = header.glibcVersionRuntime !== undefined;

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

/** Creates an installed package: built from the sources, with the files that `addAddon` writes under prebuilds/. */
function installed(addAddon?: (path: string) => void): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'cc-lb-installed-')));
  folders.push(folder);
  copyFileSync(join(root, 'package.json'), join(folder, 'package.json'));
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'), 'junction');
  bundle('esm', join(folder, 'dist/index.js'));
  if (addAddon !== undefined) {
    mkdirSync(join(folder, 'prebuilds', platform), { recursive: true });
    addAddon(join(folder, 'prebuilds', platform, 'cc-lb-runtime-wasmtime.node'));
  }
  return folder;
}

function bundle(format: 'esm' | 'cjs', outfile: string, entry = join(root, 'src/index.ts')): void {
  const external = format === 'esm' ? ['zod', 'node-gyp-build', 'prom-client'] : ['prom-client'];
  buildSync({
    ...{ entryPoints: [entry], outfile, format, external, bundle: true, platform: 'node', target: 'node20' },
    ...{ absWorkingDir: root, logLevel: 'silent' },
  });
}

function run(script: string, options: { flags?: string[]; env?: NodeJS.ProcessEnv; folder?: string } = {}) {
  const { CC_LB_RUNTIME_WASMTIME_BINARY: _, LIBC: __, PREBUILDS_ONLY: ___, ...env } = process.env;
  const { status, stdout, stderr, signal } = spawnSync(
    process.execPath,
    [...(options.flags ?? []), '--input-type=module', '-e', script],
    { encoding: 'utf8', cwd: options.folder ?? root, env: { ...env, ...options.env } },
  );
  expect(signal, stderr).toBe(null);
  return { status, stdout, stderr };
}

/** Imports the package in `folder` and returns the `code` and `message` of the failure. */
function loadFailure(folder: string, options: { flags?: string[]; env?: NodeJS.ProcessEnv } = {}) {
  const script = `await import('./dist/index.js').then(
    () => console.log(JSON.stringify({ message: 'loaded' })),
    (error) => console.log(JSON.stringify({ code: error.code, message: error.message, cause: !!error.cause })),
  )`;
  const { stdout, stderr } = run(script, { ...options, folder });
  expect(stdout, stderr).not.toBe('');
  return JSON.parse(stdout) as { code?: string; message: string; cause?: boolean };
}

function remedyOf(message: string): string {
  return message.split('\n').find((line) => line.startsWith('Remedy: ')) ?? '';
}

describe('importing a package whose addon does not load', () => {
  it('reports platform, paths, cause and remedy when the package has no binary', () => {
    const folder = installed();
    const failure = loadFailure(folder);
    expect(failure).toMatchObject({ code: 'CC_LB_ADDON_NOT_LOADED', cause: true });
    const [what, tried, cause, remedy] = failure.message.split('\n');
    expect(what).toContain(platform);
    expect(what).toContain(`Node ${process.versions.node}`);
    if (process.platform === 'linux') expect(what).toMatch(/ with (glibc [\d.]+|musl), /);
    expect(tried).toBe(`Tried: build/Release, prebuilds/ of ${folder}.`);
    expect(cause).toMatch(/^Cause: No native build was found for /);
    expect(remedy).toMatch(/^Remedy: the package contains no prebuilt binary: reinstall it, or build the addon/);
  });

  it('omits build/Release from the paths under PREBUILDS_ONLY', () => {
    const folder = installed();
    expect(loadFailure(folder, { env: { PREBUILDS_ONLY: '1' } }).message).toContain(`Tried: prebuilds/ of ${folder}.`);
  });

  it('reports the platforms that the package has binaries for', () => {
    const folder = installed();
    mkdirSync(join(folder, 'prebuilds/aix-ppc64'), { recursive: true });
    mkdirSync(join(folder, 'prebuilds/linux-mips'), { recursive: true });
    writeFileSync(join(folder, 'prebuilds/aix-ppc64/cc-lb-runtime-wasmtime.node'), '');
    writeFileSync(join(folder, 'prebuilds/linux-mips/cc-lb-runtime-wasmtime.musl.node'), '');
    expect(remedyOf(loadFailure(folder).message)).toContain('binaries for aix-ppc64, linux-mips (musl): run on one');
  });

  it.runIf(onGlibc).each(['LIBC', 'npm_config_platform'])(
    'reports that %s in the environment hides the binary',
    (name) => {
      const folder = installed((path) => copyFileSync(addon, path.replace('.node', '.glibc.node')));
      const { message } = loadFailure(folder, { env: { [name]: 'nonsense' } });
      expect(remedyOf(message)).toContain(
        `contains ${platform} (glibc): unset ${name}, or check the permissions of the file`,
      );
    },
  );

  it('reports that node-gyp-build is missing', () => {
    const folder = installed((path) => copyFileSync(addon, path));
    rmSync(join(folder, 'node_modules'));
    mkdirSync(join(folder, 'node_modules'));
    symlinkSync(join(root, 'node_modules/zod'), join(folder, 'node_modules/zod'), 'junction');
    expect(remedyOf(loadFailure(folder).message)).toBe(
      'Remedy: reinstall the package: its dependency node-gyp-build is missing.',
    );
  });

  const size = statSync(addon).size;
  it.each([0, 10, 64, 4096, 1_000_000, size >> 1, size - 1])(
    'reports a binary that is truncated to %i bytes',
    (length) => {
      const folder = installed((path) => writeFileSync(path, readFileSync(addon).subarray(0, length)));
      const failure = loadFailure(folder);
      expect(failure.code).toBe('CC_LB_ADDON_NOT_LOADED');
      // The messages of other loaders for a truncated file are not all known.
      const remedy =
        process.platform === 'linux'
          ? /the file is damaged or for another platform: reinstall/
          : /reinstall|permissions/;
      expect(remedyOf(failure.message)).toMatch(remedy);
    },
  );

  it.runIf(process.platform === 'linux')('reports a binary whose end was not written', () => {
    const folder = installed((path) => writeFileSync(path, Buffer.alloc(size).fill(readFileSync(addon), 0, size >> 1)));
    expect(remedyOf(loadFailure(folder).message)).toMatch(/the file is damaged or for another platform: reinstall/);
  });

  it('reports a binary that is a text file', () => {
    const folder = installed((path) => copyFileSync(join(root, 'package.json'), path));
    expect(remedyOf(loadFailure(folder).message)).toMatch(/the file is damaged or for another platform: reinstall/);
  });

  it.runIf(onGlibc)('names LIBC when the binary needs another libc', () => {
    const folder = installed((path) => writeFileSync(path, addonForMusl()));
    expect(remedyOf(loadFailure(folder).message)).toBe(
      'Remedy: the binary is for another libc: start Node with LIBC=glibc in its environment.',
    );
  });

  it('reports an addon with other exports as another version', () => {
    const folder = installed((path) => copyFileSync(otherAddon(), path));
    expect(remedyOf(loadFailure(folder).message)).toMatch(/the file is from another version: reinstall/);
  });

  // macOS does not load an altered binary, because its signature no longer matches.
  it.skipIf(process.platform === 'darwin')('reports an addon with other hooks as another version', () => {
    const folder = installed((path) => writeFileSync(path, addonWithHook('cc_lb_observe', 'cc_lb_absolve')));
    const failure = loadFailure(folder);
    expect(failure).toMatchObject({ code: 'CC_LB_ADDON_NOT_LOADED', cause: true });
    expect(failure.message).toMatch(/^Cause: the addon calls the hooks .*cc_lb_shape, cc_lb_absolve, .* expected /m);
    expect(remedyOf(failure.message)).toMatch(/the file is from another version: reinstall/);
  });

  it('names --allow-addons under the permission model', () => {
    const folder = installed((path) => copyFileSync(addon, path));
    const failure = loadFailure(folder, { flags: [permission, '--allow-fs-read=*'] });
    expect(remedyOf(failure.message)).toBe('Remedy: start Node with --allow-addons together with --permission.');
  });

  it('names --no-addons', () => {
    const folder = installed((path) => copyFileSync(addon, path));
    const failure = loadFailure(folder, { flags: ['--no-addons'] });
    expect(remedyOf(failure.message)).toBe('Remedy: start Node without --no-addons.');
  });

  it('names the paths to read where the permission model hides the binary, and loads with these flags', () => {
    const folder = installed((path) => copyFileSync(addon, path));
    const readable = ['dist', 'package.json', 'node_modules'].map((path) => `--allow-fs-read=${join(folder, path)}`);
    const flags = [permission, ...readable, `--allow-fs-read=${join(root, 'node_modules')}`, '--allow-addons'];
    const remedy = remedyOf(loadFailure(folder, { flags }).message)!;
    const named = [...remedy.matchAll(/--allow-fs-read=\S+/g)].map(([flag]) => flag);
    const libc = process.platform === 'linux' ? ['--allow-fs-read=/etc/alpine-release'] : [];
    expect(named).toEqual([`--allow-fs-read=${join(folder, '*')}`, ...libc]);
    expect(loadFailure(folder, { flags: [...flags, ...named] }).message).toBe('loaded');
  });
});

describe('the addon of another version', () => {
  it('is reported with both versions', () => {
    const folder = installed((path) => copyFileSync(addon, path));
    const code = readFileSync(join(folder, 'dist/index.js'), 'utf8');
    const ours = `VERSION = "${VERSION}"`;
    expect(code.split(ours)).toHaveLength(2);
    writeFileSync(join(folder, 'dist/index.js'), code.replace(ours, 'VERSION = "99.0.0"'));
    const { message } = loadFailure(folder);
    expect(message).toContain(`Cause: the addon is of version ${VERSION} of the package, expected 99.0.0`);
    expect(remedyOf(message)).toContain('the file is from another version: reinstall the package');
  });

  it('is found by the version of the package', () => {
    const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    expect(manifest.version).toBe(VERSION);
  });
});

describe('CC_LB_RUNTIME_WASMTIME_BINARY', () => {
  const withOverride = (value: string) => ({ env: { CC_LB_RUNTIME_WASMTIME_BINARY: value } });

  it('replaces the packaged binary', () => {
    expect(loadFailure(installed(), withOverride(addon)).message).toBe('loaded');
  });

  it('is ignored when empty', () => {
    const folder = installed((path) => copyFileSync(addon, path));
    expect(loadFailure(folder, withOverride('')).message).toBe('loaded');
  });

  it.each([
    ['a missing file', () => join(root, 'nowhere.node'), 'absolute path of the .node file of this version'],
    ['another addon', otherAddon, 'absolute path of the .node file of this version'],
    ['a file of another kind', () => join(root, 'LICENSE'), 'absolute path of the .node file of this version'],
    ['a damaged file', damagedAddon, 'the file is damaged or for another platform: set CC_LB_RUNTIME_WASMTIME_BINARY'],
  ])('is named in the failure when it is the path of %s', (_, file, remedy) => {
    const folder = installed((packaged) => copyFileSync(addon, packaged));
    const path = file();
    const { message } = loadFailure(folder, withOverride(path));
    expect(message).toContain(`Tried: ${path} (from CC_LB_RUNTIME_WASMTIME_BINARY).`);
    expect(remedyOf(message)).toContain(remedy);
  });

  it('lets a complete bundle load the addon, also as CommonJS', () => {
    const folder = realpathSync(mkdtempSync(join(tmpdir(), 'cc-lb-bundle-')));
    folders.push(folder);
    bundle('cjs', join(folder, 'bundle.cjs'));
    const script = `import { createRequire } from 'node:module';
      const { WasmtimeRuntime } = createRequire(process.cwd() + '/x')('./bundle.cjs');
      console.log(new WasmtimeRuntime().slotCount)`;
    expect(run(script, { folder, ...withOverride(addon) })).toMatchObject({ status: 0, stdout: '0\n' });
    expect(run(script, { folder }).stderr).toContain(
      'Remedy: mark cc-lb-runtime-wasmtime as external in the bundler, or set CC_LB_RUNTIME_WASMTIME_BINARY',
    );
  });

  it.each(['esm', 'cjs'] as const)(
    'is required by a %s bundle, which loads no module from the folders around it',
    (format) => {
      const folder = realpathSync(mkdtempSync(join(tmpdir(), 'cc-lb-bundle-')));
      folders.push(folder);
      const file = format === 'esm' ? 'dist/bundle.mjs' : 'dist/bundle.cjs';
      bundle(format, join(folder, file));
      symlinkSync(join(root, 'node_modules'), join(folder, 'dist/node_modules'), 'junction');
      mkdirSync(join(folder, 'node_modules/node-gyp-build'), { recursive: true });
      writeFileSync(join(folder, 'node_modules/node-gyp-build/index.js'), 'console.log("planted")');
      writeFileSync(join(folder, 'package.json'), '{"name":"theirs"}');
      const { stdout, stderr } = run(`await import('./${file}')`, { folder });
      expect(stdout).toBe('');
      expect(stderr).toContain('Remedy: mark cc-lb-runtime-wasmtime as external in the bundler');
    },
  );
});

it('cc-lb-plugin reports the failure without a stack and exits with 3', () => {
  const folder = installed();
  bundle('esm', join(folder, 'dist/cli.mjs'), join(root, 'src/cli/main.ts'));
  const env = { ...process.env, CC_LB_RUNTIME_WASMTIME_BINARY: join(folder, 'nowhere.node') };
  const { status, stderr } = spawnSync(process.execPath, ['dist/cli.mjs', '--help'], {
    encoding: 'utf8',
    cwd: folder,
    env,
  });
  expect(status).toBe(3);
  expect(stderr).toMatch(/^cc-lb-runtime-wasmtime could not load/);
  expect(stderr).not.toMatch(/\n\s+at /);
});

it('two copies in one process work, and each rejects the slots and runtimes of the other', () => {
  const [one, other] = [0, 1].map(() => installed((path) => copyFileSync(addon, path)));
  const main = (folder = '') => JSON.stringify(pathToFileURL(join(folder, 'dist/index.js')).href);
  const script = `
    import { readFileSync } from 'node:fs';
    const a = await import(${main(one)}), b = await import(${main(other)});
    const bytes = readFileSync(${JSON.stringify(join(root, 'test/plugins/wasm/misbehave.wasm'))});
    const open = (copy) => {
      const runtime = new copy.WasmtimeRuntime();
      const slot = runtime.registerFilter(copy.SlotKey.global('m'), 'm', bytes);
      return { copy, runtime, slot, filter: new copy.WasmtimeFilterPlugin(runtime, slot) };
    };
    const context = { requestId: 'r', method: 'POST', path: '/', headers: [], body: new Uint8Array() };
    const trap = ({ filter }, behavior) => {
      try { filter.filter(context, { id: 'p', kind: 'api_key', claims: { do: behavior } }, []); }
      catch (error) { return error.cause.trap; }
    };
    const code = (action) => { try { action(); } catch (error) { return error.code + ' ' + (error.path ?? ''); } };
    const A = open(a), B = open(b);
    const traps = [];
    for (let round = 0; round < 50; round++) {
      traps.push(trap(A, 'read-outside'), trap(B, 'read-outside'), trap(A, 'overflow-stack'), trap(B, 'divide-by-zero'));
    }
    console.log(JSON.stringify({
      traps: [...new Set(traps)].sort(),
      slot: code(() => new a.WasmtimeFilterPlugin(A.runtime, B.slot)),
      runtime: code(() => new a.WasmtimeFilterPlugin(B.runtime, A.slot)),
      key: A.runtime.getSlot(b.SlotKey.global('m'))?.current.pluginName,
      recognized: code(() => new b.WasmtimeFilterPlugin(B.runtime, 1)),
    }));`;
  const { stdout, stderr, status } = run(script);
  expect(status, stderr).toBe(0);
  expect(JSON.parse(stdout)).toEqual({
    traps: ['integer-division-by-zero', 'memory-out-of-bounds', 'stack-overflow'],
    slot: 'CC_LB_INVALID_ARGUMENT slot',
    runtime: 'CC_LB_INVALID_ARGUMENT runtime',
    key: 'm',
    recognized: 'CC_LB_INVALID_ARGUMENT slot',
  });
});

/** Returns the path of another package's addon: the bundler of the test runner has one. */
function otherAddon(): string {
  const scope = join(root, 'node_modules/@rolldown');
  const folder = readdirSync(scope).find((name) => name.startsWith('binding-'));
  const file = readdirSync(join(scope, folder ?? '')).find((name) => name.endsWith('.node'));
  if (folder === undefined || file === undefined) throw new Error('the test runner has no addon');
  return join(scope, folder, file);
}

function damagedAddon(): string {
  const folder = installed((path) => writeFileSync(path, readFileSync(addon).subarray(0, 4096)));
  return join(folder, 'prebuilds', platform, 'cc-lb-runtime-wasmtime.node');
}

/** Returns the addon with its libc renamed, as if it had been built for musl. */
function addonForMusl(): Buffer {
  const bytes = readFileSync(addon);
  const at = bytes.indexOf('libc.so.6\0');
  if (at < 0) throw new Error('the addon does not need glibc');
  bytes.write('libc.musl', at);
  return bytes;
}

/** Returns the addon with the export name of a hook replaced by another one of the same length. */
function addonWithHook(name: string, replacement: string): Buffer {
  const bytes = readFileSync(addon);
  const positions: number[] = [];
  for (let at = bytes.indexOf(name); at >= 0; at = bytes.indexOf(name, at + 1)) positions.push(at);
  if (positions.length === 0) throw new Error(`the addon does not contain ${name}`);
  for (const at of positions) bytes.write(replacement, at);
  return bytes;
}
