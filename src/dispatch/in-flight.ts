/** The off-thread work of one runtime, which its `drain` waits for. */
export class InFlight {
  #count = 0;
  #reports = 0;
  #waiting: (() => void)[] = [];

  /** Calls that run or wait, and queues of events. */
  get count(): number {
    return this.#count;
  }

  /** Counts a call or a queue of events; `end` must follow. */
  begin(): void {
    this.#count++;
  }

  end(): void {
    this.#count--;
    this.#settle();
  }

  /** Delays `drained` by the report of a monitored call, which follows the end of the call; `endReport` must follow. */
  beginReport(): void {
    this.#reports++;
  }

  endReport(): void {
    this.#reports--;
    this.#settle();
  }

  /** Resolves when nothing is in flight and every monitored call is reported. */
  async drained(): Promise<void> {
    if (this.#count + this.#reports > 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #settle(): void {
    if (this.#count + this.#reports === 0) for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
