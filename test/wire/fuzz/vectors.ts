/** The committed vectors: bytes of rkyv with their values, and verdicts of rkyv on damaged bytes. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { applySplice } from './splice.ts';

/** A value and its encoding by rkyv. */
export interface Vector {
  readonly wire: string;
  readonly name: string;
  readonly bytes: Uint8Array;
  /** Canonical JSON. */
  readonly value: string;
}

/** A damaged vector. */
export interface Verdict {
  readonly vector: Vector;
  readonly bytes: Uint8Array;
  /** 0 rejected, 1 accepted, 2 accepted and equal to the bytes that rkyv writes. */
  readonly verdict: number;
  /** `digest` of the canonical JSON of the decoded value; `''` when rkyv rejects the bytes. */
  readonly digest: string;
}

/** A line of verdicts.jsonl: the vector's number, the splice, the verdict, the digest. */
export type VerdictLine = readonly [
  vector: number,
  at: number,
  removed: number,
  inserted: string,
  verdict: number,
  digest: string,
];

/** A short hash that distinguishes values. */
export const digest = (value: string): string => createHash('sha256').update(value).digest('hex').slice(0, 12);

/** The parsed lines of a committed file. */
export const linesOf = <T>(file: string): T[] =>
  readFileSync(new URL(`../../oracle/vectors/${file}`, import.meta.url), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as T);

/** Parses the lines that the oracle's `vectors` prints. */
export const parseVectors = (lines: readonly string[]): Vector[] =>
  lines.map((line) => {
    const { wire, name, bytes } = JSON.parse(line) as { wire: string; name: string; bytes: string };
    const value = line.slice(line.indexOf('"value":') + '"value":'.length, -1);
    return { wire, name, bytes: new Uint8Array(Buffer.from(bytes, 'base64')), value };
  });

/** The committed values. */
export const committedVectors = (): Vector[] =>
  parseVectors(
    readFileSync(new URL('../../oracle/vectors/values.jsonl', import.meta.url), 'utf8')
      .trimEnd()
      .split('\n'),
  );

/** The committed verdicts on `vectors`. */
export const committedVerdicts = (vectors: readonly Vector[]): Verdict[] =>
  linesOf<VerdictLine>('verdicts.jsonl').map(([index, at, removed, inserted, verdict, valueDigest]) => {
    const vector = vectors[index]!;
    return { vector, bytes: applySplice(vector.bytes, { at, removed, inserted }), verdict, digest: valueDigest };
  });
