/** Recreates the committed vectors: `npm run fuzz -- --remake-vectors`. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { mutate } from './mutate.ts';
import { type Input, Oracle } from './oracle.ts';
import { Random } from './random.ts';
import { ROOTS } from './roots.ts';
import { type Splice, spliceBetween } from './splice.ts';
import { digest, parseVectors, type VerdictLine } from './vectors.ts';

const SEED = 1;
const VECTORS_PER_ROOT = 11;
const VERDICTS_PER_VECTOR = 12;
/** The largest insertion in bytes that is committed; the fuzzer covers larger ones. */
const MAX_INSERTED = 120;

interface Damaged extends Input {
  readonly vector: number;
  readonly splice: Splice;
}

const binary = process.env.CC_LB_WIRE_ORACLE!;
const folder = process.argv[2]!;
const ask = (...args: string[]): string => execFileSync(binary, args, { encoding: 'utf8', maxBuffer: 2 ** 28 });
const write = (file: string, lines: readonly string[]): void =>
  writeFileSync(`${folder}/${file}`, `${lines.join('\n')}\n`);

mkdirSync(folder, { recursive: true });
const lines = ask('vectors', String(VECTORS_PER_ROOT), String(SEED)).trimEnd().split('\n');
write('values.jsonl', lines);
write('roots.jsonl', ask('roots').trimEnd().split('\n'));
write('fingerprints.jsonl', ask('fingerprints').trimEnd().split('\n'));

const inputs: Damaged[] = [];
for (const [vector, { wire, name, bytes: valid }] of parseVectors(lines).entries()) {
  const root = ROOTS.findIndex((candidate) => candidate.wire === wire && candidate.message.name === name);
  for (let wanted = VERDICTS_PER_VECTOR, attempt = 0; wanted > 0; attempt++) {
    const bytes = mutate(ROOTS[root]!.message, valid, new Random(SEED + vector, attempt));
    const splice = spliceBetween(valid, bytes);
    if (splice.inserted.length > 2 * MAX_INSERTED) continue;
    inputs.push({ root, bytes, vector, splice });
    wanted--;
  }
}
const oracle = new Oracle(binary);
const judgments = await oracle.judge(inputs);
oracle.close();
const verdicts = inputs.map(({ vector, splice: { at, removed, inserted } }, index): VerdictLine => {
  const { verdict, value } = judgments[index]!;
  return [vector, at, removed, inserted, verdict, verdict === 0 ? '' : digest(value)];
});
write(
  'verdicts.jsonl',
  verdicts.map((verdict) => JSON.stringify(verdict)),
);
