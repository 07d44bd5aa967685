#!/usr/bin/env node
/** The command `cc-lb-plugin`. */

const ADDON_NOT_LOADED = 3;

try {
  const { run } = await import('./run.ts');
  process.exitCode = await run(process.argv.slice(2), {
    out: (text) => void process.stdout.write(`${text}\n`),
    err: (text) => void process.stderr.write(`${text}\n`),
  });
} catch (error) {
  if ((error as { code?: unknown } | null)?.code !== 'CC_LB_ADDON_NOT_LOADED') throw error;
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = ADDON_NOT_LOADED;
}
