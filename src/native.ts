/** The only importer of the addon. A load failure explains itself: what was found, what was tried, what to do. */
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type * as Binding from './binding.ts';
import { checkElfIsWhole } from './elf.ts';
import { NotThisAddon, OVERRIDE_VARIABLE, wrapLoadFailure } from './load-failure.ts';

export type {
  EngineOptions,
  EngineStats,
  Facts,
  NativeEngine,
  NativeFailure,
  NativeModule,
  NativeSource,
  StagedCall,
  TaskOutcome,
} from './binding.ts';

function load(): typeof Binding {
  const override = process.env[OVERRIDE_VARIABLE] || undefined;
  // A bundle as CommonJS has no import.meta.url: there only the override can find the addon.
  const here: string | undefined = import.meta.url;
  const packageDirectory = here === undefined ? process.cwd() : dirname(dirname(fileURLToPath(here)));
  try {
    const path = override === undefined ? packaged(packageDirectory) : resolve(override);
    if (process.platform === 'linux') checkElfIsWhole(path);
    const binding = createRequire(path)(path);
    if (typeof binding?.openEngine !== 'function') throw new NotThisAddon();
    return binding;
  } catch (error) {
    throw wrapLoadFailure(error, { packageDirectory, override });
  }
}

function packaged(packageDirectory: string): string {
  return createRequire(join(packageDirectory, 'package.json'))('node-gyp-build').path(packageDirectory);
}

/** The addon's functions and classes. */
export const native: typeof Binding = load();
