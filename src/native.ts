/** The only importer of the addon. A load failure explains itself: what was found, what was tried, what to do. */
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type * as Binding from './binding.ts';
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
  const require = createRequire(import.meta.url);
  const packageDirectory = dirname(dirname(fileURLToPath(import.meta.url)));
  const override = process.env[OVERRIDE_VARIABLE] || undefined;
  try {
    const binding = override === undefined ? require('node-gyp-build')(packageDirectory) : require(override);
    if (typeof binding.openEngine !== 'function') throw new NotThisAddon();
    return binding;
  } catch (error) {
    throw wrapLoadFailure(error, { packageDirectory, override });
  }
}

/** The addon's functions and classes. */
export const native: typeof Binding = load();
