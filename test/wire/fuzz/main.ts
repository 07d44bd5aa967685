/** `npm run fuzz`: compares the codec with rkyv. Prints its seed first, and a command that reproduces each disagreement. */
import { parseArgs } from 'node:util';
import { disagreement, makeSample, type Sample } from './compare.ts';
import { Oracle } from './oracle.ts';
import { ROOTS } from './roots.ts';

const BATCH = 1_000;
const PROGRESS_EVERY = 10_000;
const MAX_REPORTS = 20;

interface Options {
  readonly seed: number;
  readonly first: number;
  readonly count: number;
  readonly seconds: number;
}

function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      first: { type: 'string', default: '0' },
      count: { type: 'string' },
      seconds: { type: 'string' },
    },
  });
  const bounded = values.count !== undefined || values.seconds !== undefined;
  return {
    seed: Number(values.seed ?? Math.floor(Math.random() * 2 ** 31)),
    first: Number(values.first),
    count: Number(values.count ?? (bounded ? Number.POSITIVE_INFINITY : 100_000)),
    seconds: Number(values.seconds ?? Number.POSITIVE_INFINITY),
  };
}

function report(seed: number, index: number, sample: Sample, problem: string): void {
  const { wire, message } = ROOTS[sample.root]!;
  console.log(`DISAGREEMENT on ${wire}/${message.name}: ${problem}`);
  console.log(`  bytes: ${Buffer.from(sample.bytes).toString('hex')}`);
  console.log(`  reproduce: npm run fuzz -- --seed ${seed} --first ${index} --count 1`);
}

async function run(oracle: Oracle, { seed, first, count, seconds }: Options): Promise<number> {
  const started = performance.now();
  const elapsed = (): number => (performance.now() - started) / 1_000;
  let done = 0;
  let accepted = 0;
  let disagreements = 0;
  let announced = 0;
  const batchAt = (from: number): Sample[] =>
    Array.from({ length: Math.min(BATCH, count - from) }, (_, i) => makeSample(seed, first + from + i));
  let samples = batchAt(0);
  console.log(`seed ${seed}, ${ROOTS.length} root types`);
  while (samples.length > 0) {
    const judging = oracle.judge(samples);
    const next = done + samples.length < count && elapsed() < seconds ? batchAt(done + samples.length) : [];
    const judgments = await judging;
    for (const [i, sample] of samples.entries()) {
      const judgment = judgments[i]!;
      if (judgment.verdict > 0) accepted++;
      const problem = disagreement(sample, judgment);
      if (problem !== null && ++disagreements <= MAX_REPORTS) report(seed, first + done + i, sample, problem);
    }
    done += samples.length;
    samples = next;
    if (elapsed() * 1_000 - announced > PROGRESS_EVERY || samples.length === 0) {
      announced = elapsed() * 1_000;
      const rate = Math.round(done / elapsed());
      console.log(`${done} inputs, ${accepted} accepted, ${disagreements} disagreements, ${rate}/s`);
    }
  }
  return disagreements;
}

const oracle = new Oracle(process.env.CC_LB_WIRE_ORACLE!);
const disagreements = await run(oracle, readOptions());
oracle.close();
process.exitCode = disagreements === 0 ? 0 : 1;
