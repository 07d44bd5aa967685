/**
 * Loads the addon. No other module imports it. A load failure reports the platform, the paths tried, the cause and a
 * remedy.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PACKAGE, VERSION } from '../package.ts';
import { HOOK_KINDS } from '../types.ts';
import type * as Binding from './binding.ts';
import { checkElfIsWhole } from './elf.ts';
import { Bundled, NotThisAddon, OVERRIDE_VARIABLE, wrapLoadFailure } from './load-failure.ts';

export type {
  NativeCacheDir,
  NativeCacheDirStats,
  NativeCommand,
  NativeCompilation,
  NativeCompileOptions,
  NativeContent,
  NativeEngine,
  NativeEngineOptions,
  NativeEngineStats,
  NativeExport,
  NativeFailure,
  NativeImport,
  NativeMemoryLimits,
  NativeModule,
  NativeModuleFacts,
  NativeParseError,
  NativeSection,
  NativeSource,
  NativeStagedCall,
  NativeStream,
  NativeTaskOutcome,
} from './binding.ts';

function load(): { binding: typeof Binding; path: string } {
  const override = process.env[OVERRIDE_VARIABLE] || undefined;
  // A CommonJS bundle has no import.meta.url.
  const here: string | undefined = import.meta.url;
  const packageDirectory = here === undefined ? undefined : directoryOf(dirname(fileURLToPath(here)));
  try {
    const path = override === undefined ? packaged(packageDirectory) : resolve(override);
    if (!path.endsWith('.node')) throw new NotThisAddon('the name of a native addon ends in .node');
    if (process.platform === 'linux') checkElfIsWhole(path);
    const binding = requireFrom(path)(path);
    if (typeof binding?.packageVersion !== 'function') throw new NotThisAddon();
    checkVersion(binding.packageVersion());
    checkHooks(binding.hookExports());
    return { binding, path };
  } catch (error) {
    throw wrapLoadFailure(error, { packageDirectory, override });
  }
}

/** Checks that the addon is of this version: another one may take and return other fields under the same names. */
function checkVersion(found: string): void {
  if (found !== VERSION) throw new NotThisAddon(`the addon is of version ${found} of the package, expected ${VERSION}`);
}

/** Checks that the addon has the same hooks in the same order, because a hook crosses as its index. */
function checkHooks(exports: readonly string[]): void {
  const expected = HOOK_KINDS.map((kind) => `cc_lb_${kind}`).join(', ');
  const found = exports.join(', ');
  if (found !== expected) throw new NotThisAddon(`the addon calls the hooks ${found}, expected ${expected}`);
}

/**
 * Returns the nearest parent folder with a package.json. This module is in `dist` or, in a checkout, in `src/native`.
 */
function directoryOf(module: string): string {
  let directory = dirname(module);
  while (!existsSync(join(directory, 'package.json')) && directory !== dirname(directory)) {
    directory = dirname(directory);
  }
  return directory;
}

/** Returns the path of the binary of the package in this folder. Loads no code if the folder is of another package. */
function packaged(directory: string | undefined): string {
  if (directory === undefined) throw new Bundled();
  const manifest = join(directory, 'package.json');
  if (!existsSync(manifest) || JSON.parse(readFileSync(manifest, 'utf8')).name !== PACKAGE) throw new Bundled();
  return requireFrom(manifest)('node-gyp-build').path(directory);
}

/** Hides `require` from bundlers, which would resolve it at build time. */
function requireFrom(path: string): NodeJS.Require {
  return process.getBuiltinModule('node:module').createRequire(path);
}

const loaded = load();

/** The addon's functions and classes. */
export const native: typeof Binding = loaded.binding;
/** The file that they were loaded from, by its absolute path. */
export const addonPath: string = loaded.path;
