/**
 * Compiles a module of 1.4 MB that exceeds its memory beside an ordinary one, in many processes. With a compiler in the
 * same process, which was stopped inside the allocator, the ordinary compilation found its memory zeroed and panicked in
 * 12 of 20 processes, and 3 of 10 processes ended by `double free or corruption`, `free(): invalid pointer` or a crash.
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { grouped, type Scenario, Violation } from './scenario.ts';

const PROCESS = fileURLToPath(new URL('./corruption-process.js', import.meta.url));
const CONCURRENCY = 2;
const EXPECTED = 'cache-aware admitted, the other refused for memory\n';
const start = promisify(execFile);

export const corruption: Scenario = {
  unit: 'processes',
  target: 100,
  async run(run) {
    const processes = Array.from({ length: CONCURRENCY }, async () => {
      while (run.hasMore) {
        run.count(1);
        const { stdout, stderr } = await start(process.execPath, [PROCESS]);
        if (stdout !== EXPECTED || stderr !== '') throw new Violation(`a process printed: ${stdout}${stderr}`);
      }
    });
    await Promise.all(processes);
    return [{ name: 'processes that admitted the ordinary module', value: grouped(run.done), ok: true }];
  },
};
