/** Makes a fuzzed input from a seed and its number alone, and compares the codec with rkyv on it. */
import { WireError } from '../../../src/wire/decode.ts';
import { decodeBytes } from '../../support/decode.ts';
import { encodeToBytes } from '../../support/encode.ts';
import { canonical } from './canonical.ts';
import { mutate } from './mutate.ts';
import type { Input, Judgment } from './oracle.ts';
import { Random } from './random.ts';
import { ROOTS } from './roots.ts';
import { randomValue } from './values.ts';

/** An input, with its original value if it is not damaged. */
export interface Sample extends Input {
  readonly value: unknown;
}

/** Makes an input. One in six is not damaged, to compare the encoder with rkyv. */
export function makeSample(seed: number, index: number): Sample {
  const random = new Random(seed, index);
  const root = random.below(ROOTS.length);
  const { message } = ROOTS[root]!;
  const value = randomValue(message, random);
  const bytes = encodeToBytes(message, value);
  return random.below(6) === 0
    ? { root, bytes, value }
    : { root, bytes: mutate(message, bytes, random), value: undefined };
}

function sameBytes(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0;
}

/** Returns the difference between the verdicts of rkyv and of the codec; null when they agree. */
export function disagreement(sample: Sample, judgment: Judgment): string | null {
  const { message } = ROOTS[sample.root]!;
  if (sample.value !== undefined && judgment.verdict !== 2) return 'rkyv would not have written these bytes';
  let decoded: unknown;
  try {
    decoded = decodeBytes(message, sample.bytes);
  } catch (error) {
    if (!(error instanceof WireError)) return `the decoder threw ${String(error)}`;
    return judgment.verdict === 0 ? null : `rkyv accepts, the decoder throws ${error.message}`;
  }
  if (judgment.verdict === 0) return `rkyv rejects, the decoder returns ${canonical(decoded)}`;
  const value = canonical(decoded);
  if (value !== judgment.value) return `rkyv reads ${judgment.value}, the decoder ${value}`;
  if (sample.value !== undefined && canonical(sample.value) !== value)
    return `the encoded value is ${canonical(sample.value)}`;
  // JavaScript does not preserve the payload of a NaN.
  if (value.includes('"NaN"')) return null;
  const rewritten = sameBytes(encodeToBytes(message, decoded), sample.bytes);
  if (rewritten === (judgment.verdict === 2)) return null;
  return `encoding the value again ${rewritten ? 'returns the same bytes' : 'returns other bytes'}, unlike rkyv`;
}
