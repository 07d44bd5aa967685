/** One fuzzed input, made from a seed and its number alone, and the comparison of our answer with rkyv's. */
import { decodeAnswer, WireError } from '../../../src/wire/decode.ts';
import { encodeToBytes } from '../../../src/wire/encode.ts';
import { canonical } from './canonical.ts';
import { mutate } from './mutate.ts';
import type { Input, Judgement } from './oracle.ts';
import { Random } from './random.ts';
import { ROOTS } from './roots.ts';
import { randomValue } from './values.ts';

/** An input with the value it was made from, if it was left whole. */
export interface Sample extends Input {
  readonly value: unknown;
}

/** One input in six is left whole, to compare the encoder with rkyv; the others are damaged. */
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

/** What differs between rkyv's judgement and ours, or null. */
export function disagreement(sample: Sample, judgement: Judgement): string | null {
  const { message } = ROOTS[sample.root]!;
  if (sample.value !== undefined && judgement.verdict !== 2) return 'rkyv would not have written these bytes';
  let decoded: unknown;
  try {
    decoded = decodeAnswer(message, sample.bytes);
  } catch (error) {
    if (!(error instanceof WireError)) return `the decoder threw ${String(error)}`;
    return judgement.verdict === 0 ? null : `rkyv accepts, the decoder says ${error.message}`;
  }
  if (judgement.verdict === 0) return `rkyv rejects, the decoder gives ${canonical(decoded)}`;
  const value = canonical(decoded);
  if (value !== judgement.value) return `rkyv reads ${judgement.value}, the decoder ${value}`;
  if (sample.value !== undefined && canonical(sample.value) !== value)
    return `what went in was ${canonical(sample.value)}`;
  // A NaN's payload does not survive JavaScript.
  if (value.includes('"NaN"')) return null;
  const rewritten = sameBytes(encodeToBytes(message, decoded), sample.bytes);
  if (rewritten === (judgement.verdict === 2)) return null;
  return `encoding it again ${rewritten ? 'gives these bytes' : 'gives other bytes'}, unlike rkyv`;
}
