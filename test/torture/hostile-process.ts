/** Writes a random hostile module to a file whenever its parent asks, and answers with the module's length. */
import { writeFileSync } from 'node:fs';
import { setPriority } from 'node:os';
import { append, customSection } from '../support/wat.ts';
import { Random } from '../wire/fuzz/random.ts';
import { generateHostile, HOSTILE_MODULES } from './hostile-modules.ts';

const [seed, file] = process.argv.slice(2) as [string, string];
const random = new Random(Number(seed));
// One half are the modules of the suite, the other half are generated.
const suite = Object.values(HOSTILE_MODULES);
let made = 0;

// Generating takes no processor time from compiling.
setPriority(19);

process.on('message', () => {
  const hostile = random.below(2) === 0 ? random.pick(suite)() : generateHostile(random);
  const bytes = append(hostile, customSection(`torture-${seed}-hostile-${made++}`, new Uint8Array(0)));
  writeFileSync(file, bytes);
  // The parent may have ended meanwhile.
  process.send!(bytes.length, () => undefined);
});
