/** Why the addon did not load, and what to do about it. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

interface Attempt {
  readonly packageDirectory: string;
  readonly override: string | undefined;
  readonly variable: string;
}

const BUILD = 'build it from a checkout with `npm run build:native` (needs Rust)';

/** One message with the platform, what was tried, the cause and a remedy for it. */
export function explainLoadFailure(error: unknown, attempt: Attempt): string {
  const tried = attempt.override ?? `${attempt.packageDirectory} (build/Release, then prebuilds/)`;
  return [
    `cc-lb-runtime-wasmtime could not load its native addon on ${platform()}.`,
    `Tried: ${tried}.`,
    `Cause: ${error instanceof Error ? error.message.split('\n')[0] : String(error)}`,
    `Remedy: ${remedy(error, attempt)}`,
  ].join('\n');
}

function platform(): string {
  const libc =
    process.platform === 'linux' ? (glibcVersion() === undefined ? ' musl' : ` glibc ${glibcVersion()}`) : '';
  return `${process.platform}-${process.arch}${libc}, Node ${process.version}`;
}

function glibcVersion(): string | undefined {
  const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined;
  return report?.header?.glibcVersionRuntime;
}

function remedy(error: unknown, attempt: Attempt): string {
  const code = (error as { code?: string }).code;
  const message = error instanceof Error ? error.message : '';
  if (code === 'ERR_DLOPEN_DISABLED') return 'start Node with --allow-addons beside --permission.';
  if (code === 'ERR_ACCESS_DENIED') {
    return `let Node read the package: --allow-fs-read=${join(attempt.packageDirectory, '*')} beside --permission.`;
  }
  if (attempt.override !== undefined) return `${attempt.variable} must name a binary of this package, or be unset.`;
  if (/file too short|invalid ELF|truncated|not a mach-o|not a valid Win32/i.test(message)) {
    return 'the binary is damaged: reinstall the package.';
  }
  if (/GLIBC_|ld-linux|libc\.musl|ld-musl|symbol not found|__.*: symbol/i.test(message)) {
    return `the binary is for another libc: set LIBC=musl or LIBC=glibc before starting Node, or ${attempt.variable} to the right file under prebuilds/.`;
  }
  const available = prebuilds(attempt.packageDirectory);
  return available.length === 0
    ? `no prebuilt binary is in the package: reinstall it, or ${BUILD}.`
    : `prebuilt binaries exist for ${available.join(', ')}: install the package on one of them, or ${BUILD}.`;
}

function prebuilds(packageDirectory: string): string[] {
  try {
    const directory = join(packageDirectory, 'prebuilds');
    if (!existsSync(directory)) return [];
    return readdirSync(directory).flatMap((target) =>
      readdirSync(join(directory, target)).map((file) => `${target} (${file})`),
    );
  } catch {
    return [];
  }
}
