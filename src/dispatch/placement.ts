/** Decides whether asynchronous calls of one hook of a slot version run off the event loop from the start. */

/** Added for each long call. Two in a row move the hook off the thread; so does a sustained share of one in four. */
const LONG = 4;
const OFF_FROM = 2 * LONG;
/** Maximum score: this many consecutive short calls move the hook back, however many long ones preceded them. */
const MAX = 4 * LONG;

/** The placement of one hook: `note` records each call, and `offThread` decides where the next one runs. */
export class Placement {
  #score = 0;
  #offThread = false;

  /** Whether the next call runs off the thread. */
  get offThread(): boolean {
    return this.#offThread;
  }

  /** Records a call on either thread. `long`: it took longer than the event loop may be blocked. */
  note(long: boolean): void {
    if (long) this.#score = Math.min(MAX, this.#score + LONG);
    else if (this.#score > 0) this.#score--;
    if (this.#score >= OFF_FROM) this.#offThread = true;
    else if (this.#score === 0) this.#offThread = false;
  }

  /**
   * Records a call that alone moves the hook off the thread, such as one that exhausted its slice: each further call on
   * the thread could cost another slice.
   */
  noteDecisive(): void {
    this.#score = Math.max(OFF_FROM, this.#score);
    this.#offThread = true;
  }
}
