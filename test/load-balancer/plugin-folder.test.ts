import { execFileSync } from 'node:child_process';
import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { appendFileSync, renameSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { Deployment } from '../../examples/load-balancer/deployment.ts';
import { createLogger } from '../../examples/load-balancer/logging.ts';
import { type FolderChange, PluginFolder } from '../../examples/load-balancer/plugin-folder.ts';
import type { Routes } from '../../examples/load-balancer/routes.ts';
import { plugin as guest } from '../support/plugins.ts';
import { temporaryFolder } from './program.ts';
import { until } from './support.ts';

const SETTLE_MS = 50;
const keys = generateKeyPairSync('ed25519');
const others = generateKeyPairSync('ed25519');

const OPTIONS = {
  settleMs: SETTLE_MS,
  maxBytes: 32 * 1024 * 1024,
  maxTotalBytes: 256 * 1024 * 1024,
  maxPlugins: 1_000,
  maxDeadlineMs: 5_000,
};

function folder(trustedKeys: readonly KeyObject[] = [], options: Partial<typeof OPTIONS> = {}) {
  const path = temporaryFolder();
  const plugins = new PluginFolder({ path, trustedKeys, ...OPTIONS, ...options });
  onTestFinished(() => plugins.close());
  const write = (file: string, content: string | Buffer) => writeFileSync(join(path, file), content);
  return { path, plugins, write };
}

async function errorOf(plugins: PluginFolder): Promise<string> {
  const [change] = await plugins.read();
  return change !== undefined && 'error' in change ? change.error.message : '';
}

describe('PluginFolder', () => {
  it('names a plugin after its file and reads its kind from the module', async () => {
    const { plugins, write } = folder();
    write('b.wasm', guest('rewrite'));
    write('a.wasm', guest('cache-aware'));
    write('notes.txt', 'no plugin');
    const read = await plugins.read();
    expect(read).toEqual([
      { name: 'a', route: { name: 'a', kind: 'filter', bytes: guest('cache-aware') } },
      { name: 'b', route: { name: 'b', kind: 'shape', bytes: guest('rewrite') } },
    ]);
  });

  it('reads options from NAME.json', async () => {
    const { plugins, write } = folder();
    write('a.wasm', guest('canary'));
    write('a.json', JSON.stringify({ kind: 'observe', principal: 'me', failurePolicy: 'fail-closed', deadlineMs: 20 }));
    const [change] = await plugins.read();
    const options = { kind: 'observe', principal: 'me', failurePolicy: 'fail-closed', deadlineMs: 20 };
    expect(change).toMatchObject({ name: 'a', route: options });
  });

  it.skipIf(process.platform === 'win32').each(['a.wasm', 'a.json', 'a.json.sig'])(
    'rejects a FIFO %s instead of waiting for its end',
    async (file) => {
      const { path, plugins, write } = folder();
      write('a.wasm', guest('cache-aware'));
      write('a.json', '{}');
      rmSync(join(path, file), { force: true });
      execFileSync('mkfifo', [join(path, file)]);
      expect(await errorOf(plugins)).toMatch(`${file} is not a regular file`);
    },
  );

  it.skipIf(process.platform === 'win32')('rejects a link to a device', async () => {
    const { path, plugins } = folder();
    symlinkSync('/dev/zero', join(path, 'a.wasm'));
    expect(await errorOf(plugins)).toMatch(/is not a regular file/);
  });

  it.each([
    ['a.wasm', 33 * 1024 * 1024],
    ['a.json', 65 * 1024],
    ['a.json.sig', 65 * 1024],
  ])('rejects a large %s before it is read', async (file, bytes) => {
    const { path, plugins, write } = folder();
    write('a.wasm', guest('cache-aware'));
    write('a.json', '{}');
    writeFileSync(join(path, file), '');
    truncateSync(join(path, file), bytes);
    expect(await errorOf(plugins)).toMatch(`${file} has ${bytes} bytes, more than`);
  });

  it('reads no file outside of the folder, whatever the name', async () => {
    const { plugins, write } = folder();
    write('...wasm', guest('cache-aware'));
    expect(await plugins.read()).toMatchObject([{ name: '..', route: { bytes: guest('cache-aware') } }]);
  });

  it('requires the kind of a module with several hooks', async () => {
    const { plugins, write } = folder();
    write('a.wasm', guest('canary'));
    expect(await errorOf(plugins)).toMatch(/filter and shape and observe: name its kind/);
  });

  it('requires the kind of a large module, which it does not read', async () => {
    const { path, plugins, write } = folder();
    writeFileSync(join(path, 'a.wasm'), '');
    truncateSync(join(path, 'a.wasm'), 5 * 1024 * 1024);
    expect(await errorOf(plugins)).toMatch(/more than 4194304 bytes: name its kind/);
    write('a.json', '{"kind":"filter"}');
    expect(await plugins.read()).toMatchObject([{ route: { kind: 'filter' } }]);
  });

  it.each([
    ['an unknown option', '{"knd":"filter"}', /knd/],
    ['text that is not JSON, without quoting it', 'sk-secret', /^a\.json is not valid JSON$/],
    ['a deadline that no timer can have', '{"deadlineMs":2147483648}', /deadlineMs/],
    ['a deadline beyond that of the engine', '{"deadlineMs":5001}', /deadlineMs is 5001, longer than the 5000/],
  ])('rejects a plugin with %s', async (_, options, reason) => {
    const { plugins, write } = folder();
    write('a.wasm', guest('cache-aware'));
    write('a.json', options);
    expect(await errorOf(plugins)).toMatch(reason);
  });

  it('rejects a truncated module', async () => {
    const { plugins, write } = folder();
    write('a.wasm', guest('cache-aware').subarray(0, 1_000));
    expect(await errorOf(plugins)).not.toBe('');
  });

  it('reports a file after it is completely written', async () => {
    const settleMs = 1_000;
    const { path, plugins, write } = folder([], { settleMs });
    const reported: FolderChange[] = [];
    plugins.watch(async (changes) => void reported.push(...changes));
    const bytes = guest('cache-aware');
    write('a.wasm', bytes.subarray(0, 10));
    // Takes longer in total than the settling time, without a pause of that length.
    for (let at = 10; at < bytes.length; at += Math.ceil(bytes.length / 10)) {
      await delay(settleMs / 8);
      appendFileSync(join(path, 'a.wasm'), bytes.subarray(at, at + Math.ceil(bytes.length / 10)));
    }
    await until(() => reported.length > 0);
    expect(reported).toMatchObject([{ name: 'a', route: { kind: 'filter', bytes } }]);
  });

  it('reports a changed and a removed file', async () => {
    const { path, plugins, write } = folder();
    write('a.wasm', guest('cache-aware'));
    await plugins.read();
    const reported: FolderChange[] = [];
    plugins.watch(async (changes) => void reported.push(...changes));
    write('a.wasm', guest('cache-aware-v2'));
    await until(() => reported.length === 1);
    rmSync(join(path, 'a.wasm'));
    await until(() => reported.length === 2);
    expect(reported).toMatchObject([{ route: { bytes: guest('cache-aware-v2') } }, { name: 'a', route: null }]);
  });
});

describe('PluginFolder with others that', () => {
  it('always change reports a file that has settled', async () => {
    const { plugins, write } = folder();
    const reported: FolderChange[] = [];
    plugins.watch(async (changes) => void reported.push(...changes));
    let writes = 0;
    const noise = setInterval(() => write('noise.txt', String(writes++)), SETTLE_MS / 5);
    onTestFinished(() => clearInterval(noise));
    write('a.wasm', guest('cache-aware'));
    await until(() => reported.length > 0);
    expect(reported).toMatchObject([{ name: 'a', route: { bytes: guest('cache-aware') } }]);
  });

  it('are still deployed reports nothing until then', async () => {
    const { plugins, write } = folder();
    const reported: FolderChange[] = [];
    let finish = () => {};
    plugins.watch(async (changes) => {
      reported.push(...changes);
      await new Promise<void>((resolve) => (finish = resolve));
    });
    write('a.wasm', guest('cache-aware'));
    await until(() => reported.length === 1);
    write('b.wasm', guest('cache-aware'));
    await delay(5 * SETTLE_MS);
    expect(reported.length).toBe(1);
    finish();
    await until(() => reported.length === 2);
  });

  it('take all bytes rejects a plugin, but not a new version of another', async () => {
    const bytes = guest('cache-aware');
    const { path, plugins, write } = folder([], { maxTotalBytes: 2 * bytes.length });
    for (const name of ['a', 'b', 'c']) write(`${name}.wasm`, bytes);
    const reason = `with it, the plugins of the folder have more than ${2 * bytes.length} bytes`;
    expect(await plugins.read()).toMatchObject([
      { route: { bytes } },
      { route: { bytes } },
      { error: { message: reason } },
    ]);
    const reported: FolderChange[] = [];
    plugins.watch(async (changes) => void reported.push(...changes));
    write('b.wasm', bytes.subarray(0, -1));
    await until(() => reported.length === 1);
    expect(reported).not.toMatchObject([{ error: { message: reason } }]);
    rmSync(join(path, 'a.wasm'));
    write('c.wasm', bytes);
    await until(() => reported.length === 3);
    expect(reported.slice(1)).toMatchObject([
      { name: 'a', route: null },
      { name: 'c', route: { bytes } },
    ]);
  });

  it('exceed the maximum number are reported as one rejected plugin, and do not displace it', async () => {
    const { path, plugins, write } = folder([], { maxPlugins: 1 });
    write('m.wasm', guest('cache-aware'));
    await plugins.read();
    const reported: FolderChange[] = [];
    plugins.watch(async (changes) => void reported.push(...changes));
    for (const name of ['a', 'b', 'z']) write(`${name}.wasm`, guest('cache-aware'));
    await until(() => reported.length > 0);
    expect(reported).toMatchObject([{ name: 'a', error: { message: 'the folder has more than 1 plugins' } }]);
    rmSync(join(path, 'm.wasm'));
    await until(() => reported.length >= 3);
    const loaded = reported.slice(1).filter((change) => 'route' in change && change.route !== null);
    expect(loaded).toMatchObject([{ name: 'a' }]);
  });
});

describe('PluginFolder with a file that', () => {
  async function watched() {
    const { path, plugins, write } = folder();
    write('a.wasm', guest('cache-aware'));
    await plugins.read();
    const reported: FolderChange[] = [];
    plugins.watch(async (changes) => void reported.push(...changes));
    return { file: join(path, 'a.wasm'), write, reported };
  }

  it('disappears reports the removal after the settling time', async () => {
    const { file, reported } = await watched();
    rmSync(file);
    const removed = performance.now();
    await until(() => reported.length === 1);
    expect(reported).toEqual([{ name: 'a', route: null }]);
    // It is missing in two scans; timers may fire a millisecond early.
    expect(performance.now() - removed).toBeGreaterThan(2 * SETTLE_MS - 5);
  });

  // On Windows symbolic links require a privilege.
  it.skipIf(process.platform === 'win32')('exists but cannot be read keeps its plugin', async () => {
    const { file, write, reported } = await watched();
    symlinkSync('a.wasm', `${file}.next`);
    renameSync(`${file}.next`, file);
    expect(() => statSync(file)).toThrow(/ELOOP/);
    write('b.wasm', guest('cache-aware'));
    await until(() => reported.length > 0);
    expect(reported.map(({ name }) => name)).toEqual(['b']);
    rmSync(file);
    write('a.wasm', guest('cache-aware-v2'));
    await until(() => reported.length > 1);
    expect(reported[1]).toMatchObject({ name: 'a', route: { bytes: guest('cache-aware-v2') } });
  });
});

describe('trust', () => {
  it('accepts bytes that match their hash', async () => {
    const { plugins, write } = folder();
    write('a.wasm', guest('cache-aware'));
    write('a.json', JSON.stringify({ sha256: createHash('sha256').update(guest('cache-aware')).digest('hex') }));
    expect(await plugins.read()).toMatchObject([{ route: { kind: 'filter' } }]);
  });

  it('rejects other bytes before parsing them', async () => {
    const { plugins, write } = folder();
    write('a.wasm', 'no wasm at all');
    write('a.json', JSON.stringify({ sha256: '0'.repeat(64) }));
    expect(await errorOf(plugins)).toMatch(/pinned is 0{64}/);
  });

  const sha256 = createHash('sha256').update(guest('cache-aware')).digest('hex');

  /** A folder with a plugin whose options are signed by `key`. */
  function signed(options: object = { name: 'a', sha256 }, key = keys.privateKey) {
    const { path, plugins, write } = folder([others.publicKey, keys.publicKey]);
    const text = Buffer.from(JSON.stringify(options));
    const signature = sign(null, text, key);
    write('a.wasm', guest('cache-aware'));
    write('a.json', text);
    write('a.json.sig', signature);
    return { path, plugins, write, signature };
  }

  it('accepts a plugin whose options are signed by a trusted key', async () => {
    const { plugins } = signed({ name: 'a', sha256, deadlineMs: 20 });
    const route = { name: 'a', kind: 'filter', bytes: guest('cache-aware'), deadlineMs: 20 };
    expect(await plugins.read()).toEqual([{ name: 'a', route }]);
  });

  it('accepts a signature in Base64', async () => {
    const { plugins, write, signature } = signed();
    write('a.json.sig', `${signature.toString('base64')}\n`);
    expect(await plugins.read()).toMatchObject([{ route: { kind: 'filter' } }]);
  });

  it.each([
    ['without options', 'a.json', null, /^there is no a\.json with a signature$/],
    ['without a signature', 'a.json.sig', null, /^a\.json: there is no signature$/],
    ['with other options', 'a.json', 'no JSON at all', /^a\.json: the signature is by no trusted key$/],
    ['with a file that is not a signature', 'a.json.sig', 'yes', /^a\.json: .* neither 64 bytes/],
    ['with another module', 'a.wasm', guest('rewrite'), /pinned is/],
  ])('rejects a plugin %s', async (_, file, content, reason) => {
    const { path, plugins, write } = signed();
    rmSync(join(path, file));
    if (content !== null) write(file, content);
    expect(await errorOf(plugins)).toMatch(reason);
  });

  it.each([
    ['without a hash', { name: 'a' }, /sha256/],
    ['without a name', { sha256 }, /name/],
    ['of another plugin', { name: 'b', sha256 }, /^a\.json is of the plugin "b"$/],
  ])('rejects signed options %s', async (_, options, reason) => {
    expect(await errorOf(signed(options).plugins)).toMatch(reason);
  });

  it('rejects options that are signed by another key', async () => {
    const stranger = generateKeyPairSync('ed25519').privateKey;
    expect(await errorOf(signed(undefined, stranger).plugins)).toMatch(/no trusted key/);
  });

  it('reads a plugin again when the signature of its options arrives', async () => {
    const { path, plugins, write, signature } = signed();
    rmSync(join(path, 'a.json.sig'));
    expect(await errorOf(plugins)).toMatch(/no signature/);
    const reported: FolderChange[] = [];
    plugins.watch(async (changes) => void reported.push(...changes));
    write('a.json.sig', signature);
    await until(() => reported.length > 0);
    expect(reported).toMatchObject([{ name: 'a', route: { kind: 'filter' } }]);
  });
});

describe('a deployment', () => {
  const configured: Routes = { upstreams: [], principals: [], plugins: [] };
  const logger = createLogger({ level: 'silent' });
  const change = (name: string, bytes: Buffer): FolderChange => ({ name, route: { name, kind: 'filter', bytes } });
  const [one, two, bad] = [Buffer.from('one'), Buffer.from('two'), Buffer.from('bad')];

  function deployment() {
    const published: string[] = [];
    const publish = async ({ plugins }: Routes) => {
      if (plugins.some(({ bytes }) => bytes === bad)) throw new Error('it is bad');
      published.push(plugins.map(({ name, bytes }) => `${name}:${bytes}`).join(' '));
    };
    return { deployment: new Deployment({ publish }, logger, configured), published };
  }

  it('keeps the version of a rejected plugin, and swaps the others', async () => {
    const { deployment: deployed, published } = deployment();
    await deployed.takeChanges([change('a', one), change('b', one)]);
    await deployed.takeChanges([change('a', bad), change('b', two), { name: 'c', error: new Error('unreadable') }]);
    expect(published.at(-1)).toBe('a:one b:two');
    expect(deployed.rejections.map(({ plugin, reason }) => [plugin, reason])).toEqual([
      ['c', 'unreadable'],
      ['a', 'it is bad'],
    ]);
    await deployed.takeChanges([change('a', two)]);
    expect(deployed.rejections.map(({ plugin }) => plugin)).toEqual(['c']);
  });

  it('rejects a plugin of an unknown principal', async () => {
    const { deployment: deployed, published } = deployment();
    const route = { name: 'a', kind: 'filter', bytes: one, principal: 'nobody' } as const;
    await deployed.takeChanges([{ name: 'a', route }, change('b', one)]);
    expect(published).toEqual(['b:one']);
    expect(deployed.rejections).toMatchObject([{ plugin: 'a', reason: 'no principal has the id "nobody"' }]);
  });

  it('publishes changes that are read together as one set', async () => {
    const { deployment: deployed, published } = deployment();
    await deployed.takeChanges([change('b', one), change('a', one)]);
    expect(published).toEqual(['a:one b:one']);
  });

  it('rolls back to the previous version once', async () => {
    const { deployment: deployed, published } = deployment();
    await deployed.takeChanges([change('a', one)]);
    await deployed.takeChanges([change('a', two)]);
    await deployed.rollback('a');
    expect(published.at(-1)).toBe('a:one');
    await expect(deployed.rollback('a')).rejects.toThrow(/no previous version/);
    await deployed.takeChanges([change('b', one)]);
    expect(published.at(-1)).toBe('a:one b:one');
  });

  it('drops a removed plugin', async () => {
    const { deployment: deployed, published } = deployment();
    await deployed.takeChanges([change('a', one)]);
    await deployed.takeChanges([{ name: 'a', route: null }]);
    expect(published.at(-1)).toBe('');
    expect(deployed.has('a')).toBe(false);
  });
});
