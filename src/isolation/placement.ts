/** Decides whether asynchronous calls of one hook of a slot run off the event loop from the start. */

/** Added for each long call. Two in a row move the hook off the thread; so does a sustained share of one in four. */
const LONG = 4;
const OFF_FROM = 2 * LONG;
/** Maximum score: this many consecutive short calls move the hook back, however many long ones preceded them. */
const MAX = 4 * LONG;
/**
 * After a call that blocked the event loop, its hook stays off the thread for this many times as long. Otherwise a plugin
 * could block it nearly always, with just as many short calls in between as move the hook back.
 */
const REST = 20;

/**
 * The window over which calls on the event loop are added, and their limit in it, in slices. Calls that each take less than
 * half a slice could otherwise block it nearly always, and hundreds of them in one turn for seconds.
 */
const WINDOW_SLICES = 10;
const LIMIT_SLICES = 5;
/** Shorter calls, in slices, are not added: for them, another thread costs about as much time. */
const ADDED_FROM_SLICES = 1 / 20;

/** The placement of one hook: `note` records each call, and `offThread` decides where the next one runs. */
export class Placement {
  readonly #now: () => number;
  #score = 0;
  #offThread = false;
  /** The earliest time at which the hook moves back. */
  #backAt = 0;
  #windowStart = 0;
  /** Milliseconds of calls on the event loop in the window. */
  #blockedMs = 0;

  /** `now` returns milliseconds of a monotonic clock. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Whether the next call runs off the thread. */
  get offThread(): boolean {
    return this.#offThread;
  }

  /** Records a call on either thread. `long`: it took longer than the event loop may be blocked. */
  note(long: boolean): void {
    if (long) this.#score = Math.min(MAX, this.#score + LONG);
    else if (this.#score > 0) this.#score--;
    if (this.#score >= OFF_FROM) this.#offThread = true;
    else if (this.#score === 0 && this.#offThread) this.#offThread = this.#now() < this.#backAt;
  }

  /** Records the milliseconds of a call on the event loop. `sliceMs` is the slice of a call. */
  noteBlocked(milliseconds: number, sliceMs: number): void {
    if (milliseconds < ADDED_FROM_SLICES * sliceMs) return;
    const now = this.#now();
    if (now - this.#windowStart > WINDOW_SLICES * sliceMs) {
      this.#windowStart = now;
      this.#blockedMs = 0;
    }
    this.#blockedMs += milliseconds;
    if (this.#blockedMs < LIMIT_SLICES * sliceMs) return;
    this.noteDecisive(this.#blockedMs);
    this.#blockedMs = 0;
  }

  /**
   * Records a call that alone moves the hook off the thread, such as one that exhausted its slice: each further call on
   * the thread could block it again for as long, `milliseconds`.
   */
  noteDecisive(milliseconds: number): void {
    this.#score = Math.max(OFF_FROM, this.#score);
    this.#offThread = true;
    this.#backAt = Math.max(this.#backAt, this.#now() + REST * milliseconds);
  }
}
