// npm run lint:workflows: runs actionlint on .github/workflows. actionlint comes from PATH or is built by Go; without both
// the check is skipped with a message.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { skipped } from './skipped.mjs';

const ACTIONLINT = 'github.com/rhysd/actionlint/cmd/actionlint@v1.7.12';
const root = fileURLToPath(new URL('..', import.meta.url));

const how = [['actionlint'], ['go', 'run', ACTIONLINT]].find(
  ([program, ...args]) => spawnSync(program, [...args, '-version'], { cwd: root }).status === 0,
);
if (how === undefined) {
  const why = 'the workflows are not linted, because neither actionlint nor a Go that can fetch it is installed';
  process.exit(skipped(why) ? 0 : 1);
}
const [program, ...args] = how;
const { status } = spawnSync(program, [...args, '-color'], { cwd: root, stdio: 'inherit' });
console.log(status === 0 ? '✓ workflows' : '✗ workflows');
process.exit(status ?? 1);
