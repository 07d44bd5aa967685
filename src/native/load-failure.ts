/** Builds the error that importing the package throws when the addon does not load: its cause and the remedy. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { PACKAGE } from '../package.ts';

/** Environment variable with the path of a binary to load instead of the packaged one, for bundles and single-executable apps. */
export const OVERRIDE_VARIABLE = 'CC_LB_RUNTIME_WASMTIME_BINARY';

/** The paths where the addon was searched. */
export interface LoadAttempt {
  /** The directory of the package; undefined when the code runs outside of it, as in a bundle. */
  readonly packageDirectory: string | undefined;
  /** The value of the override variable; undefined when it is not set. */
  readonly override: string | undefined;
}

/** The file at the path is not the addon of this version. */
export class NotThisAddon extends Error {
  constructor(message = 'the file is a module, but not the addon of this version of the package') {
    super(message);
  }
}

/** This code runs in a bundle, outside of its package. */
export class Bundled extends Error {
  constructor() {
    super('this code runs in a bundle, outside of its package');
  }
}

const BUILD = 'build the addon in a checkout (`npm run build:native`, needs Rust)';
const DAMAGED =
  /file too short|another processor|invalid ELF|ELF load command|truncated|not a mach-o|not a valid Win32|Exec format/i;
/** Environment variables that change where node-gyp-build searches. */
const MISLEADING = ['LIBC', 'npm_config_arch', 'npm_config_platform', 'CC_LB_RUNTIME_WASMTIME_PREBUILD'];
const OTHER_LIBC = /ld-linux|libc\.musl|ld-musl|libc\.so\b|Error relocating|symbol not found/i;

/**
 * Returns the error that importing the package throws when the addon does not load: it has code
 * `CC_LB_ADDON_NOT_LOADED`, `cause` as its cause, and a message with the platform, the paths tried, the cause and a remedy.
 */
export function wrapLoadFailure(cause: unknown, attempt: LoadAttempt): Error {
  const message = [
    `${PACKAGE} could not load its native addon on ${platform()}.`,
    `Tried: ${tried(attempt)}.`,
    `Cause: ${messageOf(cause)}`,
    `Remedy: ${remedy(cause, attempt)}`,
  ].join('\n');
  return Object.assign(new Error(message, { cause }), { code: 'CC_LB_ADDON_NOT_LOADED' });
}

function messageOf(cause: unknown): string {
  return (cause instanceof Error ? cause.message : String(cause)).split('\n')[0] ?? '';
}

function platform(): string {
  const { bun, deno, node } = process.versions;
  const runtime = bun ? `Bun ${bun}` : deno ? `Deno ${deno}` : `Node ${node}`;
  return `${process.platform}-${process.arch}${libc()}, ${runtime}`;
}

function libc(): string {
  if (process.platform !== 'linux') return '';
  const glibc = glibcVersion();
  return glibc === undefined ? ' with musl' : ` with glibc ${glibc}`;
}

/** The version of glibc; undefined when Node runs on another libc. */
function glibcVersion(): string | undefined {
  try {
    const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
    return header.glibcVersionRuntime;
  } catch {
    // Deno runs only on glibc, and may deny access to the report.
    return 'of an unknown version';
  }
}

function tried({ override, packageDirectory }: LoadAttempt): string {
  if (override !== undefined) return `${override} (from ${OVERRIDE_VARIABLE})`;
  if (packageDirectory === undefined) return `nothing, because ${OVERRIDE_VARIABLE} is not set`;
  const inside = process.env.PREBUILDS_ONLY ? 'prebuilds/' : 'build/Release, prebuilds/';
  return `${inside} of ${packageDirectory}`;
}

function remedy(cause: unknown, attempt: LoadAttempt): string {
  const { code, name } = (cause ?? {}) as { code?: unknown; name?: unknown };
  const message = messageOf(cause);
  if (name === 'NotCapable') return 'start Deno with --allow-ffi, --allow-read and --allow-env.';
  if (cause instanceof Bundled) {
    return `mark ${PACKAGE} as external in the bundler, or set ${OVERRIDE_VARIABLE} to the absolute path of the .node file of this version for this platform.`;
  }
  if (code === 'ERR_DLOPEN_DISABLED') {
    return permission() === undefined
      ? 'start Node without --no-addons.'
      : 'start Node with --allow-addons together with --permission.';
  }
  const file = attempt.override ?? join(attempt.packageDirectory ?? '', 'prebuilds');
  if (code === 'ERR_ACCESS_DENIED' || permission()?.has('fs.read', file) === false) {
    const flags = readPaths(attempt).map((path) => `--allow-fs-read=${path}`);
    return `allow Node to read the addon: ${flags.join(' ')} together with --permission.`;
  }
  if (/GLIBC_[\d.]+' not found/.test(message)) {
    return `the system's glibc is too old (the prebuilt binaries need 2.28): use a newer system, or ${BUILD}.`;
  }
  // Checked before DAMAGED: a musl binary makes glibc's loader open `libc.so`, which may be a linker script.
  if (OTHER_LIBC.test(message)) return otherLibc(attempt);
  if (DAMAGED.test(message)) {
    return attempt.override === undefined
      ? 'the file is damaged or for another platform: reinstall the package.'
      : `the file is damaged or for another platform: set ${OVERRIDE_VARIABLE} to the path of a complete file, or unset it.`;
  }
  if (attempt.override !== undefined) {
    return `set ${OVERRIDE_VARIABLE} to the absolute path of the .node file of this version for this platform, or unset it.`;
  }
  if (cause instanceof NotThisAddon) return `the file is from another version: reinstall the package, or ${BUILD}.`;
  if (code === 'MODULE_NOT_FOUND') return `reinstall the package: its dependency node-gyp-build is missing.`;
  const available = prebuilds(attempt.packageDirectory ?? '');
  if (available.length === 0) return `the package contains no prebuilt binary: reinstall it, or ${BUILD}.`;
  const [here] = available.filter((name) => name.split(' ')[0] === `${process.platform}-${process.arch}`);
  if (here === undefined) {
    return `the package contains prebuilt binaries for ${available.join(', ')}: run on one of them, or ${BUILD}.`;
  }
  const set = MISLEADING.filter((name) => process.env[name]).map((name) => `unset ${name}`);
  const look = `check the permissions of the file and that its disk is not mounted with noexec`;
  return `the package contains ${here}: ${[...set, look].join(', or ')}.`;
}

/** The paths that loading reads. By the second of them, node-gyp-build recognizes Alpine. */
function readPaths({ override, packageDirectory }: LoadAttempt): string[] {
  if (override !== undefined) return [override];
  const files = join(packageDirectory ?? '', '*');
  return process.platform === 'linux' ? [files, '/etc/alpine-release'] : [files];
}

function otherLibc({ override }: LoadAttempt): string {
  const own = glibcVersion() === undefined ? 'musl' : 'glibc';
  return override === undefined
    ? `the binary is for another libc: start Node with LIBC=${own} in its environment.`
    : `the binary is for another libc: set ${OVERRIDE_VARIABLE} to the path of the one for ${own}.`;
}

/** Undefined when the permission model is off. */
function permission(): typeof process.permission | undefined {
  return process.permission;
}

/** The platforms of the package's binaries, such as `linux-x64 (musl)`. */
function prebuilds(packageDirectory: string): string[] {
  try {
    const folder = join(packageDirectory, 'prebuilds');
    return readdirSync(folder).map((platform) => {
      const tags = readdirSync(join(folder, platform)).map((file) => file.split('.').slice(1, -1).join('.'));
      return tags.some((tag) => tag !== '') ? `${platform} (${tags.join(', ')})` : platform;
    });
  } catch {
    return [];
  }
}
