/**
 * Off-thread work of this JavaScript thread, first in, first out. Guests run on threads of libuv's pool, which file
 * system and DNS share: at most all but two of its threads (at least one) run guests at once, in the whole process.
 */
import { PoolSaturatedError } from '../errors.ts';
import { native } from '../native.ts';

const POOL_SIZE = Number(process.env.UV_THREADPOOL_SIZE ?? 4) || 4;
const PLACES = Math.max(1, Math.min(POOL_SIZE, 1024) - 2);
/** How soon a thread that has nothing running looks again for a place that another thread holds, in milliseconds. */
const RETRY_MS = 1;

interface Waiting {
  start(): void;
}

const waiting: Waiting[] = [];
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
  if (waiting.length >= most && !startable()) throw new PoolSaturatedError('queue');
  let entry: Waiting | undefined;
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
    };
    waiting.push(entry);
  });
  const remove = () => {
    const at = entry === undefined ? -1 : waiting.indexOf(entry);
    if (at >= 0) waiting.splice(at, 1);
    return at >= 0;
  };
  try {
    pump();
  } catch (error) {
    // Nobody would be told of the work any more.
    remove();
    throw error;
  }
  return { done, remove };
}

/** Work of this thread that waits for a place. */
export function queueLength(): number {
  return waiting.length;
}

function startable(): boolean {
  return waiting.length === 0 && running < PLACES;
}

function pump(): void {
  for (; owed > 0; owed--) native.returnTaskPlace();
  while (waiting.length > 0 && native.takeTaskPlace(PLACES)) {
    running++;
    let next: Waiting | undefined;
    try {
      next = waiting.shift()!;
      next.start();
    } catch (error) {
      // This is the end of the stack, where nothing can be called: the work goes back, and its place later.
      running--;
      owed++;
      if (next !== undefined) waiting[waiting.length] = next;
      throw error;
    }
  }
  // No completion of this thread's own tells it when others give their places back.
  if (waiting.length > 0 && retry === undefined) retry = setTimeout(pumpAgain, RETRY_MS);
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
  native.returnTaskPlace();
  running--;
}
