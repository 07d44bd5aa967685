/** Whether asynchronous calls of one hook of a slot version are made off the event loop from the start. */

/** Added for each long call. Two in a row move the hook off the thread, and so does one in four for a while. */
const LONG = 4;
const OFF_FROM = 2 * LONG;
/** Short calls in a row that move it back after any number of long ones. */
const MAX = 4 * LONG;

/** The placement of one hook: `note` each call, then ask where the next one goes. */
export class Placement {
  #score = 0;
  #offThread = false;

  /** Whether the next call is made off the thread. */
  get offThread(): boolean {
    return this.#offThread;
  }

  /** Notes a call, wherever it ran: whether it took longer than the event loop is to be held. */
  note(long: boolean): void {
    if (long) this.#score = Math.min(MAX, this.#score + LONG);
    else if (this.#score > 0) this.#score--;
    if (this.#score >= OFF_FROM) this.#offThread = true;
    else if (this.#score === 0) this.#offThread = false;
  }
}
