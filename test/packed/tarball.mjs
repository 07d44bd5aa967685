// Checks the tarball: its files, its manifest, and whether its declarations compile.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brokenLinks } from '../../scripts/links.mjs';
import { prebuildPath } from '../../scripts/prebuild-targets.mjs';
import { typescript } from '../../scripts/prebuild-tools.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const NEEDED = [
  ...['package.json', 'README.md', 'CHANGELOG.md', 'SECURITY.md', 'LICENSE', 'THIRD_PARTY_LICENSES.md'],
  ...['dist/index.js', 'dist/index.d.ts', 'dist/cli/main.js', 'docs/errors.md', 'docs/support.md', 'docs/promises.md'],
  ...['docs/api/README.md', 'examples/load-balancer/README.md', 'examples/container/README.md'],
  ...['cache-aware', 'cache-aware-v2', 'lifecycle', 'masker', 'misbehave', 'rewrite'].map(
    (name) => `test/plugins/wasm/${name}.wasm`,
  ),
];
const EXPECTED = [
  /^dist\/.*\.(js|d\.ts|js\.map)$/,
  /^docs\/(api\/([\w-]+\/)?)?\w+\.(md|svg)$/,
  /^examples\/(load-balancer\/(demo\/)?|container\/)[\w.-]+$/,
  /^prebuilds\/[a-z0-9]+-[a-z0-9]+\/cc-lb-runtime-wasmtime(\.(glibc|musl))?\.node$/,
];
/** The oldest version that compiles the declarations of zod. */
const OLDEST_TYPESCRIPT = '5.4';
const INSTALL_SCRIPTS = ['preinstall', 'install', 'postinstall', 'prepare'];

/** Returns the problems of the tarball that `npm pack` described. It must contain the binaries of `targets`. */
export function checkTarball({ path, files, size, unpackedSize }, targets) {
  const present = files.map((file) => file.path);
  const needed = [...NEEDED, ...targets.map(prebuildPath)];
  const failures = [
    ...needed.filter((file) => !present.includes(file)).map((file) => `the tarball does not contain ${file}`),
    ...present
      .filter((file) => !needed.includes(file) && !EXPECTED.some((pattern) => pattern.test(file)))
      .map((file) => `the tarball contains ${file}`),
  ];
  failures.push(...brokenLinks(present).map((link) => `the tarball has the broken link ${link}`));
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  for (const name of INSTALL_SCRIPTS) if (scripts[name]) failures.push(`package.json has the script ${name}`);
  console.log(`tarball: ${files.length} files, ${megabytes(size)} packed, ${megabytes(unpackedSize)} unpacked`);
  for (const file of files.filter(({ path }) => path.endsWith('.node'))) {
    console.log(`  ${file.path}  ${megabytes(file.size)}`);
  }
  failures.push(...tool('publint --strict', 'publint/src/cli.js', ['--strict', path]));
  // Every supported release line of Node can require an ES module, so this rule does not apply.
  const attw = ['--ignore-rules', 'cjs-resolves-to-esm', '--no-emoji', path];
  failures.push(...tool('are the types wrong', '@arethetypeswrong/cli/dist/index.js', attw));
  return failures;
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(2)} MB`;
}

function tool(name, script, args) {
  return command(name, [join(root, 'node_modules', script), ...args], root);
}

function command(name, args, cwd) {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', cwd });
  console.log(`${status === 0 ? '✓' : '✗'} ${name}`);
  if (status === 0) return [];
  console.log(stdout + stderr);
  return [name];
}

const CONSUMER = `
import {
  type HotEngineConfigInput,
  type PluginSlot,
  SlotKey,
  WasmtimeFilterPlugin,
  WasmtimeRuntime,
  WasmtimeRuntimeError,
} from 'cc-lb-runtime-wasmtime';

const config: HotEngineConfigInput = { allocationStrategy: 'pooling', poolTotalMemories: 4 };
const runtime = new WasmtimeRuntime(config);
const slot: PluginSlot = runtime.registerFilter(SlotKey.global('f'), 'f', new Uint8Array());
const filter = new WasmtimeFilterPlugin(runtime, slot);
export function kept(headers: Headers): readonly string[] {
  try {
    const context = { requestId: 'r', method: 'GET', path: '/', headers: [...headers], body: new Uint8Array() };
    return filter.filter(context, { id: 'p', kind: 'api_key', claims: {} }, []).keptUpstreamIds;
  } catch (error) {
    if (error instanceof WasmtimeRuntimeError && error.retryable) return [error.code];
    throw error;
  }
}
// @ts-expect-error the types reject an unknown strategy
new WasmtimeRuntime({ allocationStrategy: 'sometimes' });
// @ts-expect-error only a shape has instances of streams
runtime.registerFilter(SlotKey.global('g'), 'g', new Uint8Array(), { instance: 'stream' });
`;

/** Compiles a program in strict mode against the installed declarations, and checks the declarations themselves. */
export function checkDeclarations(app) {
  const newest = join(dirname(fileURLToPath(import.meta.resolve('typescript/package.json'))), 'bin/tsc');
  const uses = [
    { module: 'node16', moduleResolution: 'node16', file: 'consumer.mts' },
    { module: 'nodenext', moduleResolution: 'nodenext', file: 'consumer.mts' },
    { module: 'nodenext', moduleResolution: 'nodenext', file: 'consumer.cts' },
    { module: 'esnext', moduleResolution: 'bundler', file: 'consumer.ts' },
  ];
  const oldest = typescript(OLDEST_TYPESCRIPT);
  return [
    // TypeScript 5.8 is the first that lets CommonJS require an ES module.
    ...uses
      .filter(({ file }) => file !== 'consumer.cts')
      .flatMap((use) => compile(app, OLDEST_TYPESCRIPT, oldest, use)),
    ...uses.flatMap((use) => compile(app, 'newest', newest, use)),
  ];
}

function compile(app, version, tsc, { file, ...resolution }) {
  const folder = join(app, `types-${file}`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, file), CONSUMER);
  const compilerOptions = {
    ...resolution,
    ...{ target: 'es2022', lib: ['es2023', 'dom', 'dom.iterable', 'esnext.disposable'], strict: true, noEmit: true },
    ...{ skipLibCheck: false, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true },
    ...{ typeRoots: [join(root, 'node_modules/@types')], types: ['node'] },
  };
  const project = join(folder, 'tsconfig.json');
  writeFileSync(project, JSON.stringify({ compilerOptions, files: [file] }));
  return command(`TypeScript ${version}, ${resolution.moduleResolution} ${file}`, [tsc, '-p', project], folder);
}
