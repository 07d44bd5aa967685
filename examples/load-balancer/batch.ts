/**
 * Work of several requests that runs in succession. A plugin call between reading and writing sockets finds neither its
 * code nor its memory in the caches of the CPU, which makes it take up to twice as long as a call after another call.
 */
import { inContext } from './tracing.ts';

/** Work that runs together, each in its own async context. */
export class Batch {
  readonly #schedule: (run: () => void) => void;
  #work: (() => void)[] = [];

  /** `schedule` is called with the function that runs the work, once for each batch. */
  constructor(schedule: (run: () => void) => void) {
    this.#schedule = schedule;
  }

  /** Adds work that does not throw. */
  add(work: () => void): void {
    if (this.#work.push(inContext(work)) === 1) this.#schedule(() => this.flush());
  }

  /** Runs what was added. */
  flush(): void {
    const work = this.#work;
    this.#work = [];
    for (const run of work) run();
  }
}
