// Runs without V8's compiler, so that any mapping that is writable and executable would belong to the engine.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import * as runtime from 'cc-lb-runtime-wasmtime';
import { use } from './use.cjs';

use(runtime);
const both = readFileSync('/proc/self/maps', 'utf8')
  .split('\n')
  .filter((line) => / [r-]wx/.test(line));
assert.deepEqual(both, []);
