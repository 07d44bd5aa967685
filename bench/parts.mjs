// The codec and the header rules as files of their own, for contestants that are measured without the runtime around
// them: the package ships as one bundle.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const output = 'build/parts';

/** Compiles src/ file by file. */
export function buildParts() {
  const args = ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json', '--outDir', output];
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}

/** A module of src/, compiled by `buildParts`. */
export function part(name) {
  return import(`${root}${output}/${name}.js`);
}
