/** Why the addon did not load, and what to do about it. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';

/** Names a binary to load instead of the packaged one: for bundles and single-executable apps. */
export const OVERRIDE_VARIABLE = 'CC_LB_RUNTIME_WASMTIME_BINARY';

/** Where the addon was looked for. */
export interface LoadAttempt {
  readonly packageDirectory: string;
  /** The value of the override variable, if it is set. */
  readonly override: string | undefined;
}

/** A module was loaded, and it is something else. */
export class NotThisAddon extends Error {
  constructor() {
    super('the file is a module, but not the addon of this version of the package');
  }
}

const BUILD = 'build the addon in a checkout (`npm run build:native`, needs Rust)';
const DAMAGED = /file too short|invalid ELF|ELF load command|truncated|not a mach-o|not a valid Win32|Exec format/i;
const OTHER_LIBC = /ld-linux|libc\.musl|ld-musl|libc\.so\b|Error relocating|symbol not found/i;

/**
 * What importing the package throws where the addon cannot be loaded: an error with code `CC_LB_ADDON_NOT_LOADED`, the
 * original as its cause, and a message that says what was found, what was tried, and a remedy for the cause.
 */
export function wrapLoadFailure(cause: unknown, attempt: LoadAttempt): Error {
  const message = [
    `cc-lb-runtime-wasmtime could not load its native addon on ${platform()}.`,
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

/** Undefined where Node runs on another libc. */
function glibcVersion(): string | undefined {
  try {
    const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
    return header.glibcVersionRuntime;
  } catch {
    // Deno runs on glibc alone, and may keep the rest to itself.
    return 'of an unknown version';
  }
}

function tried({ override, packageDirectory }: LoadAttempt): string {
  if (override !== undefined) return `${override} (from ${OVERRIDE_VARIABLE})`;
  const inside = process.env.PREBUILDS_ONLY ? 'prebuilds/' : 'build/Release, prebuilds/';
  return `${inside} of ${packageDirectory}`;
}

function remedy(cause: unknown, attempt: LoadAttempt): string {
  const { code, name } = (cause ?? {}) as { code?: unknown; name?: unknown };
  const message = messageOf(cause);
  if (name === 'NotCapable') return 'start Deno with --allow-ffi, --allow-read and --allow-env.';
  if (code === 'ERR_DLOPEN_DISABLED') return 'start Node with --allow-addons beside --permission.';
  if (code === 'ERR_ACCESS_DENIED' || !mayRead(attempt)) {
    const path = attempt.override ?? join(attempt.packageDirectory, '*');
    return `let Node read the addon: --allow-fs-read=${path} beside --permission.`;
  }
  if (/GLIBC_[\d.]+' not found/.test(message)) {
    return `the system's glibc is too old (the prebuilt binaries need 2.28): use a newer system, or ${BUILD}.`;
  }
  // Before the damaged ones: a musl binary asks glibc's loader for `libc.so`, which may be a linker script there.
  if (OTHER_LIBC.test(message)) return otherLibc(attempt);
  if (DAMAGED.test(message)) {
    return attempt.override === undefined
      ? 'the file is damaged or for another platform: reinstall the package.'
      : `the file is damaged or for another platform: let ${OVERRIDE_VARIABLE} name one that is whole, or unset it.`;
  }
  if (attempt.override !== undefined) {
    return `let ${OVERRIDE_VARIABLE} name the .node file of this version for this platform, by its absolute path, or unset it.`;
  }
  if (cause instanceof NotThisAddon) return `the file is from another version: reinstall the package, or ${BUILD}.`;
  const available = prebuilds(attempt.packageDirectory);
  return available.length === 0
    ? `the package holds no prebuilt binary: reinstall it, or ${BUILD}.`
    : `the package holds prebuilt binaries for ${available.join(', ')}: run on one of them, or ${BUILD}.`;
}

function otherLibc({ override }: LoadAttempt): string {
  const own = glibcVersion() === undefined ? 'musl' : 'glibc';
  return override === undefined
    ? `the binary is for another libc: start Node with LIBC=${own} in its environment.`
    : `the binary is for another libc: let ${OVERRIDE_VARIABLE} name the one for ${own}.`;
}

/** Whether Node's permission model lets the addon be found; true where the model is off. */
function mayRead({ override, packageDirectory }: LoadAttempt): boolean {
  const path = override ?? join(packageDirectory, 'prebuilds');
  // `permission` exists only under the permission model.
  const permission = process.permission as typeof process.permission | undefined;
  return permission?.has('fs.read', path) ?? true;
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
