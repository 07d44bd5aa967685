/** The child processes of this process (Linux only). */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** Returns the ids of the children that any thread of this process started. */
export function children(): number[] {
  return readdirSync('/proc/self/task').flatMap(childrenOf);
}

/** Returns the ids of a thread's children; none if it has ended, after which they belong to another thread. */
function childrenOf(thread: string): number[] {
  let list: string;
  try {
    list = readFileSync(`/proc/self/task/${thread}/children`, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return [];
    throw error;
  }
  return list.split(' ').filter(Boolean).map(Number);
}

/** Waits until the number of children is as expected, and returns their ids. */
export async function childrenUntil(expected: (count: number) => boolean): Promise<number[]> {
  for (;;) {
    const found = children();
    if (expected(found.length)) return found;
    await sleep(2);
  }
}

/** Waits for a child that compiles: it has limited its processor time, which it does when it has a job. Returns its id. */
export async function compilingChild(): Promise<number> {
  const compiles = (pid: number) => {
    try {
      return /Max cpu time +\d/.test(readFileSync(`/proc/${pid}/limits`, 'utf8'));
    } catch {
      return false;
    }
  };
  for (;;) {
    const found = children().find(compiles);
    if (found !== undefined) return found;
    await sleep(5);
  }
}
