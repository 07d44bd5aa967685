/**
 * Off-thread work of this JavaScript thread, first in, first out. Guests run on threads of libuv's pool, which file
 * system and DNS share: at most all but two of its threads (at least one) run guests at once, in the whole process.
 */
import { PoolSaturatedError } from '../errors.ts';
import { native } from '../native/addon.ts';

const POOL_SIZE = Number(process.env.UV_THREADPOOL_SIZE ?? 4) || 4;
const PLACES = Math.max(1, Math.min(POOL_SIZE, 1024) - 2);
/** How soon a thread that has nothing running looks again for a place that another thread holds, in milliseconds. */
const RETRY_MS = 1;

/** Work that waits. The list is linked so that its head can be put back by assignments alone; see `pump`. */
interface Waiting {
  start(): void;
  next: Waiting | undefined;
}

let first: Waiting | undefined;
let last: Waiting | undefined;
let waiting = 0;
let running = 0;
/** Places that could not be given back yet. */
let owed = 0;
let retry: NodeJS.Timeout | undefined;

// A thread that ends, or the process, would wait for its guests to come to their deadlines.
process.on('exit', () => native.interruptTasks());

/** What `enqueue` gives back: the work's promise, and a way to take it out of the queue. */
export interface Queued<T> {
  readonly done: Promise<T>;
  /** True if the work had not begun; it never will. */
  remove(): boolean;
}

/** Runs `work` when its turn comes. Throws PoolSaturatedError `queue` if `most` others wait already. */
export function enqueue<T>(work: () => Promise<T>, most: number): Queued<T> {
  if (waiting >= most && !startable()) throw new PoolSaturatedError('queue');
  let entry!: Waiting;
  const done = new Promise<T>((resolve, reject) => {
    entry = {
      start() {
        let begun: Promise<T>;
        try {
          begun = work();
        } catch (error) {
          reject(error);
          release();
          return;
        }
        begun.then(resolve, reject).finally(finished);
      },
      next: undefined,
    };
    if (last === undefined) first = entry;
    else last.next = entry;
    last = entry;
    waiting++;
  });
  const remove = () => unlink(entry);
  try {
    pump();
  } catch (error) {
    // The caller gets this error and neither the promise nor a way to remove the work.
    remove();
    done.catch(() => {});
    throw error;
  }
  return { done, remove };
}

/** Work of this thread that waits for a place. */
export function queueLength(): number {
  return waiting;
}

function startable(): boolean {
  return waiting === 0 && running < PLACES;
}

/** Takes an entry out of the list; false if it is not in it. */
function unlink(entry: Waiting): boolean {
  let before: Waiting | undefined;
  for (let at = first; at !== undefined; before = at, at = at.next) {
    if (at !== entry) continue;
    if (before === undefined) first = at.next;
    else before.next = at.next;
    if (last === at) last = before;
    waiting--;
    return true;
  }
  return false;
}

function pump(): void {
  for (; owed > 0; owed--) native.returnTaskPermit();
  while (first !== undefined && native.takeTaskPermit(PLACES)) {
    const next: Waiting = first;
    first = next.next;
    if (first === undefined) last = undefined;
    next.next = undefined;
    waiting--;
    running++;
    try {
      next.start();
    } catch (error) {
      // The stack is exhausted, so nothing can be called: the work returns to the head of the queue by assignment, and
      // its permit is returned by the next `pump`.
      running--;
      owed++;
      next.next = first;
      first = next;
      last ??= next;
      waiting++;
      throw error;
    }
  }
  // No completion of this thread's own tells it when others give their places back.
  if (waiting > 0 && retry === undefined) retry = setTimeout(pumpAgain, RETRY_MS);
}

function pumpAgain(): void {
  retry = undefined;
  pump();
}

function finished(): void {
  release();
  pump();
}

function release(): void {
  native.returnTaskPermit();
  running--;
}
