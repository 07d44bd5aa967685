/** Generates random values of a message from its layout table. */
import { type Message, type Plan, STEP, type Step } from '../../../src/wire/rkyv.ts';
import type { Random } from './random.ts';

const ALPHABETS = [
  'abcdefghij-0123456789/',
  'aé\u0080ÿß',
  '漢z\ufeff\uffff\u0800',
  '😀\u{10ffff}\u{10000}"\0',
  '\\"\n\u007f\u2028 ',
];
const INTEGERS: readonly (number | bigint)[] = [
  0,
  1,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  Number.MAX_SAFE_INTEGER,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 1n,
];
const FLOATS = [0, -0, 1, 0.1, -1.5e300, 5e-324, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN];

/** One in this many lengths exceeds every size at which the codec changes its algorithm. */
const RARELY = 2_048;

function length(random: Random): number {
  if (random.below(RARELY) === 0) return 10_000 + random.below(60_000);
  const choice = random.below(16);
  if (choice < 2) return 0;
  if (choice === 2) return 60 + random.below(10);
  if (choice === 3) return 155 + random.below(12);
  if (choice === 4) return random.below(400);
  return random.below(14);
}

function text(random: Random): string {
  const alphabet = [...ALPHABETS[Math.max(0, random.below(9) - 4)]!];
  const total = length(random);
  let made = '';
  for (let left = Math.min(total, 500); left > 0; left--) made += random.pick(alphabet);
  return made.repeat(Math.ceil(total / 500));
}

function bytes(random: Random): Uint8Array {
  const made = new Uint8Array(length(random));
  for (let i = 0; i < made.length && i < 500; i++) made[i] = random.next();
  return made;
}

function count(random: Random): number {
  if (random.below(RARELY) === 0) return 300 + random.below(300);
  const choice = random.below(16);
  if (choice < 3) return 0;
  return choice === 3 ? 4 + random.below(9) : 1 + random.below(3);
}

function list(step: Step, random: Random): unknown[] {
  const plan = step.plan!;
  const made: unknown[] = [];
  for (let left = count(random); left > 0; left--) {
    if (step.kind === STEP.slice) made.push(object(plan, random));
    else for (const leaf of plan.steps) made.push(field(leaf, random));
  }
  return made;
}

function field(step: Step, random: Random): unknown {
  if (step.tagAt >= 0 && random.below(3) === 0) return null;
  switch (step.kind) {
    case STEP.text:
      return text(random);
    case STEP.latin1:
      return Buffer.from(bytes(random)).toString('latin1');
    case STEP.json:
    case STEP.bytes:
    case STEP.body:
      return bytes(random);
    case STEP.slice:
    case STEP.pairs:
      return list(step, random);
    case STEP.struct:
      return object(step.plan!, random);
    case STEP.u64:
      return random.below(2) === 0 ? random.below(100_000) : random.pick(INTEGERS);
    case STEP.f64:
      return random.below(2) === 0 ? random.next() / 7 : random.pick(FLOATS);
    default:
      return random.below(step.kind === STEP.u16 ? 2 ** 16 : 2 ** 32);
  }
}

function object(plan: Plan, random: Random): Record<string, unknown> {
  const made: Record<string, unknown> = {};
  for (const step of plan.steps) made[step.name] = field(step, random);
  return made;
}

/** Returns a random value of `message`. */
export function randomValue(message: Message<unknown>, random: Random): unknown {
  const index = random.below(message.plans.length);
  const fields = object(message.plans[index]!, random);
  return message.tag === null ? fields : { [message.tag.property]: message.tag.names[index], ...fields };
}
