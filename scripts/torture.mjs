// `npm run torture`: bundles the torture suite from the sources and runs it on the built addon.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import nodeGypBuild from 'node-gyp-build';

const root = fileURLToPath(new URL('..', import.meta.url));
const OVERRIDE = 'CC_LB_RUNTIME_WASMTIME_BINARY';
const OUT = 'build/torture';

buildSync({
  entryPoints: ['main', 'child', 'group-worker', 'churn-worker', 'corruption-process', 'hostile-process'].map((name) =>
    join(root, `test/torture/${name}.ts`),
  ),
  ...{ absWorkingDir: root, outdir: OUT, bundle: true, sourcemap: true, logLevel: 'warning' },
  ...{ packages: 'external', platform: 'node', format: 'esm', target: 'node20' },
});
const { status } = spawnSync(process.execPath, [join(root, OUT, 'main.js'), ...process.argv.slice(2)], {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, [OVERRIDE]: process.env[OVERRIDE] || nodeGypBuild.path(root) },
});
process.exit(status ?? 1);
