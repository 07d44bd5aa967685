/** The only importer of the addon. A load failure explains itself: what was found, what was tried, what to do. */
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type * as Binding from './binding.ts';
import { explainLoadFailure } from './load-failure.ts';

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

/** Names a binary to load instead of the packaged one: for bundles and single-executable apps. */
export const OVERRIDE_VARIABLE = 'CC_LB_RUNTIME_WASMTIME_BINARY';

function load(): typeof Binding {
  const require = createRequire(import.meta.url);
  const packageDirectory = dirname(dirname(fileURLToPath(import.meta.url)));
  const override = process.env[OVERRIDE_VARIABLE];
  try {
    if (override) return require(override);
    return require('node-gyp-build')(packageDirectory);
  } catch (error) {
    throw new Error(explainLoadFailure(error, { packageDirectory, override, variable: OVERRIDE_VARIABLE }), {
      cause: error,
    });
  }
}

/** The addon's functions and classes. */
export const native: typeof Binding = load();
