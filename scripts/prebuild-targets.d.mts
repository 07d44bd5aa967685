/** A platform with a prebuilt binary. */
export interface Target {
  /** As `process.platform`. */
  readonly platform: string;
  /** As `process.arch`. */
  readonly arch: string;
  /** `glibc` or `musl`, on Linux only. */
  readonly libc?: string;
}

export const TARGETS: readonly Target[];

/** The oldest glibc that a glibc binary may need. */
export const GLIBC_BASELINE: string;

/** The path of a target's binary relative to the package. */
export function prebuildPath(target: Target): string;
