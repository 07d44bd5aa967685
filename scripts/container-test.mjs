// npm run test:container: builds examples/container around the packed package and runs it as its README describes: not root,
// nothing writable, no capabilities, 512 MiB, the tool's own seccomp profile. Needs docker or podman, a base image to
// build on, and the binary of this machine under prebuilds/.
//
//   --tool podman                         instead of docker
//   --build-flag=…, --run-flag=…          additional flags for the tool; may be repeated
import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { must } from './commands.mjs';
import { addSmokeTest, pack, SMOKE } from './packed.mjs';
import { hostTarget, prebuildPath } from './prebuild-targets.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const IMAGE = 'cc-lb-runtime-wasmtime-example';
const CONFINED = ['--read-only', '--cap-drop=ALL', '--security-opt=no-new-privileges', '--memory=512m'];

const { values } = parseArgs({
  options: {
    tool: { type: 'string', default: 'docker' },
    'build-flag': { type: 'string', multiple: true, default: [] },
    'run-flag': { type: 'string', multiple: true, default: [] },
  },
});
if (!existsSync(join(root, prebuildPath(hostTarget())))) {
  console.error(`There is no ${prebuildPath(hostTarget())}: run \`npm run build:prebuilds\` first.`);
  process.exit(1);
}
const stage = mkdtempSync(join(tmpdir(), 'cc-lb-container-'));
try {
  must(process.execPath, ['scripts/build-dist.mjs']);
  const { filename } = pack(stage);
  cpSync(join(root, 'examples/container'), stage, { recursive: true });
  addSmokeTest(stage);
  must(values.tool, ['build', `--tag=${IMAGE}`, `--build-arg=PACKAGE=./${filename}`, ...values['build-flag'], stage]);
} finally {
  rmSync(stage, { recursive: true });
}
inContainer();
inContainer('node', SMOKE);
inContainer('sh', '-c', 'test "$(id -u)" != 0 && ! touch /app/written 2> /dev/null');
console.log('✓ the image builds from the tarball, and the engine runs in it');

function inContainer(...command) {
  must(values.tool, ['run', '--rm', ...CONFINED, ...values['run-flag'], IMAGE, ...command]);
}
