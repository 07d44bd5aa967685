/**
 * Off-thread work of this JavaScript thread: a line per principal, first in, first out; the lines take turns. Guests run on
 * threads of libuv's pool, which file system and DNS share: at most all but two of its threads (at least one) run guests at
 * once, in the whole process, and one principal never holds the last of several permits.
 *
 *     lines:  [ a: ▢ ▢ ▢ ]  [ b: ▢ ]  [ c: ▢ ▢ ]
 *                  ▲ turn: the head of this line starts next, then the turn passes on
 */
import { PoolSaturatedError } from '../errors.ts';
import { native } from '../native/addon.ts';

const POOL_SIZE = Number(process.env.UV_THREADPOOL_SIZE ?? 4) || 4;
const PERMITS = Math.max(1, Math.min(POOL_SIZE, 1024) - 2);
/** How soon a thread asks again for a permit that another thread holds, in milliseconds. */
const RETRY_MS = 1;

/** Work that waits. The list is linked so that its head can be put back by assignments alone; see `drain`. */
interface Waiting {
  readonly line: Line;
  /** Whether it may be refused in favor of another principal when the queue is full. */
  readonly bounded: boolean;
  start(): void;
  refuse(): void;
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
const owed: string[] = [];
let retry: NodeJS.Timeout | undefined;

// A thread that ends, or the process, would wait for its guests to come to their deadlines.
process.on('exit', () => native.interruptTasks());

/** What `enqueue` gives back: the work's promise, and a way to take it out of the queue. */
export interface Queued<T> {
  /** Rejects with PoolSaturatedError `queue` where the work had to make room for another principal's. */
  readonly done: Promise<T>;
  /** True if the work had not begun; it never will. */
  remove(): boolean;
}

/**
 * Runs `work` when the turn of `principal` comes. If `limit` others wait already, the newest work of the longest line makes
 * room; throws PoolSaturatedError `queue` if that line is the principal's own.
 */
export function enqueue<T>(work: () => Promise<T>, limit: number, principal: string): Queued<T> {
  const line = linesByPrincipal.get(principal) ?? addLine(principal);
  if (waiting >= limit && !startable() && !makeRoom(line)) throw new PoolSaturatedError('queue');
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
      refuse: () => reject(new PoolSaturatedError('queue')),
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
    // The caller gets this error and neither the promise nor a way to remove the work.
    remove();
    done.catch(() => {});
    throw error;
  }
  return { done, remove };
}

/** Work of this thread that waits for a permit. */
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

/** Refuses the newest work of the longest line, where that one is longer than `line` will be. */
function makeRoom(line: Line): boolean {
  let longest = line;
  for (const other of lines) if (other.length > longest.length && other.last?.bounded) longest = other;
  if (longest.length <= line.length + 1) return false;
  const newest = longest.last!;
  unlink(newest);
  newest.refuse();
  return true;
}

/** Takes an entry out of its line; false if it is not in it. */
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

/** Starts work while there are permits. */
function drain(): void {
  while (owed.length > 0) {
    native.returnTaskPermit(owed[owed.length - 1]!);
    owed.length--;
  }
  let refused = 0;
  while (refused < lines.length) {
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
      refused++;
      continue;
    }
    refused = 0;
    line.first = first.next;
    if (line.first === undefined) line.last = undefined;
    first.next = undefined;
    line.length--;
    waiting--;
    running++;
    try {
      first.start();
    } catch (error) {
      // The stack is exhausted, so nothing can be called: the work returns to the head of its line by assignment, and its
      // permit is returned by the next `drain`.
      running--;
      owed[owed.length] = line.principal;
      first.next = line.first;
      line.first = first;
      line.last ??= first;
      line.length++;
      waiting++;
      throw error;
    }
  }
  // No completion of this thread's own tells it when others return their permits.
  if (waiting > 0 && retry === undefined) retry = setTimeout(drainAgain, RETRY_MS);
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
