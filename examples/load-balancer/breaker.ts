/**
 * A circuit breaker: after consecutive failures an upstream receives no requests for a time, then one as a trial. A
 * failure is a missing answer. An answer with any status, also 5xx, is none: its client decides about it.
 */

/** When a breaker opens and for how long. */
export interface BreakerOptions {
  /** Consecutive failures that open it. */
  readonly failures: number;
  /** Milliseconds until one request is allowed as a trial. */
  readonly openMs: number;
}

/** `half-open`: the next or the running request decides. */
export type BreakerState = 'closed' | 'open' | 'half-open';

const WORST_FIRST: readonly BreakerState[] = ['open', 'half-open', 'closed'];

/** Returns the worst of the states; `closed` without any. */
export function worstState(states: readonly BreakerState[]): BreakerState {
  return WORST_FIRST.find((state) => states.includes(state)) ?? 'closed';
}

/** The breaker of one upstream. Times are `performance.now()` milliseconds. */
export class Breaker {
  readonly #options: BreakerOptions;
  #failures = 0;
  #openUntil = 0;
  #isOnTrial = false;

  constructor(options: BreakerOptions) {
    this.#options = options;
  }

  get state(): BreakerState {
    if (this.#openUntil === 0) return 'closed';
    return performance.now() < this.#openUntil ? 'open' : 'half-open';
  }

  /** Whether a request may be sent now. Does not change the state. */
  get admits(): boolean {
    if (this.#openUntil === 0) return true;
    return !this.#isOnTrial && performance.now() >= this.#openUntil;
  }

  /**
   * Reports a sent request. Returns true if it is the trial, which must end in `succeeded`, `failed` or `abandoned`.
   */
  begin(): boolean {
    if (this.#openUntil === 0) return false;
    this.#isOnTrial = true;
    return true;
  }

  /** The upstream has answered. */
  succeeded(): void {
    this.#failures = 0;
    this.#openUntil = 0;
    this.#isOnTrial = false;
  }

  /** The upstream could not be reached or did not answer. */
  failed(): void {
    this.#failures++;
    if (this.#openUntil !== 0 || this.#failures >= this.#options.failures) {
      this.#openUntil = performance.now() + this.#options.openMs;
    }
    this.#isOnTrial = false;
  }

  /** The trial ended without a result, because its client disconnected. */
  abandoned(): void {
    this.#isOnTrial = false;
  }
}
