/** Represents a damaged message as its difference from a valid one, which is small enough to commit thousands. */

/** At position `at`, `removed` bytes are replaced by `inserted` (hex). */
export interface Splice {
  readonly at: number;
  readonly removed: number;
  readonly inserted: string;
}

/** Returns the splice that converts `before` to `after`. */
export function spliceBetween(before: Uint8Array, after: Uint8Array): Splice {
  const shorter = Math.min(before.length, after.length);
  let at = 0;
  while (at < shorter && before[at] === after[at]) at++;
  let kept = 0;
  while (kept < shorter - at && before[before.length - 1 - kept] === after[after.length - 1 - kept]) kept++;
  const inserted = Buffer.from(after.subarray(at, after.length - kept)).toString('hex');
  return { at, removed: before.length - kept - at, inserted };
}

/** Returns `before` with the splice applied. */
export function applySplice(before: Uint8Array, { at, removed, inserted }: Splice): Uint8Array {
  const middle = Buffer.from(inserted, 'hex');
  return Uint8Array.from([...before.subarray(0, at), ...middle, ...before.subarray(at + removed)]);
}
