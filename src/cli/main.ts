#!/usr/bin/env node
/** The command `cc-lb-plugin`. */
import { VERSION } from '../package.ts';

const ADDON_NOT_LOADED = 3;
const NOT_WRITTEN = 4;

let written = true;
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    // The reader closed the pipe; the exit code still reports the result.
    if (error.code === 'EPIPE') return;
    if (written && stream === process.stdout) process.stderr.write(`cc-lb-plugin: cannot write: ${error.message}\n`);
    written = false;
  });
}
process.on('exit', () => {
  if (!written) process.exitCode = NOT_WRITTEN;
});

const argv = process.argv.slice(2);
if (argv[0] === '--version' || argv[0] === '-v') {
  // Handled without importing the package, so that it works when the addon does not load.
  process.stdout.write(`${VERSION}\n`);
} else {
  await runCommand();
}

async function runCommand(): Promise<void> {
  try {
    const { run } = await import('./run.ts');
    process.exitCode = await run(argv, {
      out: (text) => void process.stdout.write(`${text}\n`),
      err: (text) => void process.stderr.write(`${text}\n`),
    });
  } catch (error) {
    if ((error as { code?: unknown } | null)?.code !== 'CC_LB_ADDON_NOT_LOADED') throw error;
    process.stderr.write(`${(error as Error).message}\n`);
    process.exitCode = ADDON_NOT_LOADED;
  }
}
