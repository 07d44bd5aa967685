/** The child processes of this one, as Linux reports them. */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** The ids of this process's children, of those that it started from any of its threads. */
export function children(): number[] {
  return readdirSync('/proc/self/task').flatMap((thread) =>
    readFileSync(`/proc/self/task/${thread}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
  );
}

/** Waits until there are as many children as the test expects, and returns them. */
export async function childrenUntil(expected: (count: number) => boolean): Promise<number[]> {
  for (;;) {
    const found = children();
    if (expected(found.length)) return found;
    await sleep(2);
  }
}

/** The id of the process that compiles now: one that has used some processor time since it was ready. */
export async function compilingChild(): Promise<number> {
  const busy = (pid: number) => {
    const [, fields = ''] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ');
    return Number(fields.split(' ')[11]) > 20;
  };
  for (;;) {
    const found = children().find((pid) => {
      try {
        return busy(pid);
      } catch {
        return false;
      }
    });
    if (found !== undefined) return found;
    await sleep(5);
  }
}
