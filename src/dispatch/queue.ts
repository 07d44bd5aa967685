/**
 * Off-thread work of this JavaScript thread: one FIFO queue (line) per principal, served in rotation. Guests run on
 * threads of libuv's pool, which file system and DNS operations share. In the whole process, all but two of its threads
 * (at least one) may run guests concurrently, and one principal never holds the last of several permits.
 *
 *     lines:  [ a: ▢ ▢ ▢ ]  [ b: ▢ ]  [ c: ▢ ▢ ]
 *                  ▲ turn: the head of this line starts next, then `turn` advances
 */
import { PoolSaturatedError } from '../errors.ts';
import { native } from '../native/addon.ts';

const POOL_SIZE = Number(process.env.UV_THREADPOOL_SIZE ?? 4) || 4;
const PERMITS = Math.max(1, Math.min(POOL_SIZE, 1024) - 2);
/** Delay before a thread retries to take a permit that another thread holds, in milliseconds. */
const RETRY_MS = 1;

/** Waiting work. The list is linked so that its head can be restored by assignments alone; see `drain`. */
interface Waiting {
  readonly line: Line;
  /** Whether it may be rejected in favor of another principal when the queue is full. */
  readonly bounded: boolean;
  start(): void;
  reject(): void;
  next: Waiting | undefined;
}

/** The waiting work of one principal. */
interface Line {
  readonly principal: string;
  first: Waiting | undefined;
  last: Waiting | undefined;
  length: number;
}

const lines: Line[] = [];
const linesByPrincipal = new Map<string, Line>();
/** Index of the line whose head starts next. */
let turn = 0;
let waiting = 0;
let running = 0;
/** The principals of permits that could not be returned yet. */
const permitsToReturn: string[] = [];
let retry: NodeJS.Timeout | undefined;

// Otherwise a thread or process that exits would wait until its guests finish or reach their deadlines.
process.on('exit', () => native.interruptTasks());

/** The result of `enqueue`. */
export interface Queued<T> {
  /**
   * Settles as the work does. Rejects with PoolSaturatedError `queue` if the queue was full, or if the work was displaced
   * by another principal's.
   */
  readonly done: Promise<T>;
  /** Removes the work from the queue. Returns false if it does not wait there. */
  remove(): boolean;
}

/**
 * Runs `work` when it is the turn of `principal`. If `limit` others wait already, the newest work of the longest line
 * is rejected: this one, if that line is the principal's own.
 */
export function enqueue<T>(work: () => Promise<T>, limit: number, principal: string): Queued<T> {
  const line = linesByPrincipal.get(principal) ?? addLine(principal);
  if (waiting >= limit && !startable() && !displaceFor(line)) {
    return { done: Promise.reject(new PoolSaturatedError('queue')), remove: () => false };
  }
  let entry!: Waiting;
  const done = new Promise<T>((resolve, reject) => {
    entry = {
      line,
      bounded: Number.isFinite(limit),
      start() {
        let begun: Promise<T>;
        try {
          begun = work();
        } catch (error) {
          reject(error);
          release(principal);
          return;
        }
        begun.then(resolve, reject).finally(() => finished(principal));
      },
      reject: () => reject(new PoolSaturatedError('queue')),
      next: undefined,
    };
    if (line.last === undefined) line.first = entry;
    else line.last.next = entry;
    line.last = entry;
    line.length++;
    waiting++;
  });
  const remove = () => unlink(entry);
  try {
    drain();
  } catch (error) {
    // The caller receives this error, and neither the promise nor `remove`.
    remove();
    done.catch(() => {});
    throw error;
  }
  return { done, remove };
}

/** Returns the number of this thread's tasks that wait for a permit. */
export function queueLength(): number {
  return waiting;
}

function startable(): boolean {
  return waiting === 0 && running < PERMITS;
}

function addLine(principal: string): Line {
  const line: Line = { principal, first: undefined, last: undefined, length: 0 };
  lines.push(line);
  linesByPrincipal.set(principal, line);
  return line;
}

/** Rejects the newest work of the longest line if that line is longer than `line` will be. Returns whether it did. */
function displaceFor(line: Line): boolean {
  let longest = line;
  for (const other of lines) if (other.length > longest.length && other.last?.bounded) longest = other;
  if (longest.length <= line.length + 1) return false;
  const newest = longest.last!;
  unlink(newest);
  newest.reject();
  return true;
}

/** Removes an entry from its line. Returns false if the line does not contain it. */
function unlink(entry: Waiting): boolean {
  const { line } = entry;
  let before: Waiting | undefined;
  for (let at = line.first; at !== undefined; before = at, at = at.next) {
    if (at !== entry) continue;
    if (before === undefined) line.first = at.next;
    else before.next = at.next;
    if (line.last === at) line.last = before;
    line.length--;
    waiting--;
    return true;
  }
  return false;
}

/** Returns the permits that could not be returned before, then starts work while permits are available. */
function drain(): void {
  while (permitsToReturn.length > 0) {
    native.returnTaskPermit(permitsToReturn[permitsToReturn.length - 1]!);
    permitsToReturn.length--;
  }
  let skipped = 0;
  while (skipped < lines.length) {
    if (turn >= lines.length) turn = 0;
    const line = lines[turn]!;
    const { first } = line;
    if (first === undefined) {
      linesByPrincipal.delete(line.principal);
      lines.splice(turn, 1);
      continue;
    }
    const permit = native.takeTaskPermit(PERMITS, line.principal);
    if (permit === 'wait') break;
    turn++;
    if (permit === 'share') {
      skipped++;
      continue;
    }
    skipped = 0;
    line.first = first.next;
    if (line.first === undefined) line.last = undefined;
    first.next = undefined;
    line.length--;
    waiting--;
    running++;
    try {
      first.start();
    } catch (error) {
      // The stack is exhausted, so nothing can be called: assignments restore the work to the head of its line, and the
      // next `drain` returns its permit.
      running--;
      permitsToReturn[permitsToReturn.length] = line.principal;
      first.next = line.first;
      line.first = first;
      line.last ??= first;
      line.length++;
      waiting++;
      throw error;
    }
  }
  // This thread is not notified when other threads return their permits, so it polls. If it holds all permits itself, the
  // end of its work continues the queue.
  if (waiting > 0 && running < PERMITS && retry === undefined) retry = setTimeout(drainAgain, RETRY_MS);
}

function drainAgain(): void {
  retry = undefined;
  drain();
}

function finished(principal: string): void {
  release(principal);
  drain();
}

function release(principal: string): void {
  native.returnTaskPermit(principal);
  running--;
}
