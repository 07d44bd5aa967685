/**
 * A circuit breaker.
 *
 *     closed ──failures or guest time──▶ open ──back-off elapsed──▶ half-open
 *        ▲                                ▲                          │   │
 *        └──────── enough successful trials ─────────────────────────┘   │
 *                                         └────────── failed trial ──────┘
 *
 * The clock is read only if a threshold may be reached, so a successful call of a closed breaker costs only a few
 * additions.
 */
import * as z from 'zod';

const MAX_MS = 24 * 60 * 60 * 1_000;
const milliseconds = z.int().min(1).max(MAX_MS);
const count = z.int().min(1).max(1_000_000);

/** Thresholds of a breaker. Every field has a default. */
export const breakerSchema = z
  .strictObject({
    /** Whether slots have a breaker. */
    enabled: z.boolean().default(false),
    /** Consecutive failed calls that open the breaker. */
    consecutiveFailures: count.default(3),
    /** Share of failed calls in the window that opens the breaker. */
    failureRatio: z.number().min(0.01).max(1).default(0.5),
    /** Calls that the window must have before `failureRatio` applies. */
    minimumCalls: count.default(20),
    /** Seconds in the guest per second of the window that open the breaker. */
    guestTimeShare: z.number().min(0.001).max(1_024).default(0.8),
    /** Length of the window over which calls and guest time are counted. */
    windowMs: milliseconds.default(10_000),
    /** Milliseconds that an open breaker rejects calls before its first trial. Doubles with each failed trial. */
    openMs: milliseconds.default(1_000),
    /** The maximum of `openMs` after doubling. */
    maxOpenMs: milliseconds.default(60_000),
    /** Successful trials, one at a time, that close a half-open breaker. */
    halfOpenTrials: z.int().min(1).max(1_000).default(1),
    /** Calling principals of a global slot that must fail before it opens for all. */
    openPrincipals: z.int().min(2).max(100_000).default(3),
    /** Maximum number of calling principals that a global slot counts. */
    maxPrincipals: z.int().min(2).max(100_000).default(256),
  })
  .readonly()
  .refine(({ openMs, maxOpenMs }) => maxOpenMs >= openMs, {
    path: ['maxOpenMs'],
    message: 'expected at least openMs',
  })
  .refine(({ openPrincipals, maxPrincipals }) => maxPrincipals >= openPrincipals, {
    path: ['maxPrincipals'],
    message: 'expected at least openPrincipals',
  });

/** Complete thresholds of a breaker. */
export interface BreakerOptions extends z.output<typeof breakerSchema> {}
/** `closed` allows calls, `open` rejects them, `half-open` allows one trial at a time. */
export type BreakerState = 'closed' | 'open' | 'half-open';
/** Why a breaker changed its state. */
export type BreakerCause =
  | 'consecutive-failures'
  | 'failure-ratio'
  | 'guest-time'
  | 'principals'
  | 'back-off-elapsed'
  | 'trial-failed'
  | 'trials-succeeded';

/**
 * Counts state changes. All breakers of a call share it, so that one number identifies the start of the call for each.
 */
export interface Sequence {
  value: number;
}

/** One breaker. Times are milliseconds of a monotonic clock. */
export class Breaker {
  readonly #options: BreakerOptions;
  readonly #sequence: Sequence;
  readonly #now: () => number;
  readonly #changed: (state: BreakerState, cause: BreakerCause) => void;
  /** Guest time, in seconds, that opens the breaker when it is used within one window. */
  readonly #guestSecondsLimit: number;

  #state: BreakerState = 'closed';
  /** Value of the sequence when the state last changed. Calls that started earlier are not counted. */
  #since = 0;
  #windowStart: number;
  #consecutive = 0;
  #calls = 0;
  #failures = 0;
  #guestSeconds = 0;
  #openMs = 0;
  #openedAt = Number.NEGATIVE_INFINITY;
  #closedAt = Number.NEGATIVE_INFINITY;
  /** The time from which the next trial may start. */
  #trialAt = 0;
  #trialsSucceeded = 0;

  constructor(
    options: BreakerOptions,
    sequence: Sequence,
    now: () => number,
    changed: (state: BreakerState, cause: BreakerCause) => void,
  ) {
    this.#options = options;
    this.#sequence = sequence;
    this.#now = now;
    this.#changed = changed;
    this.#guestSecondsLimit = (options.guestTimeShare * options.windowMs) / 1_000;
    this.#windowStart = now();
  }

  get state(): BreakerState {
    return this.#state;
  }

  /** The time when the breaker last opened; negative infinity if it never did. */
  get openedAt(): number {
    return this.#openedAt;
  }

  /** Returns the milliseconds until a call may be retried; 0 allows this call. */
  enter(): number {
    return this.#state === 'closed' ? 0 : this.#tryEnter();
  }

  #tryEnter(): number {
    const now = this.#now();
    if (now < this.#trialAt) return this.#trialAt - now;
    if (this.#state === 'open') {
      this.#trialsSucceeded = 0;
      this.#change('half-open', 'back-off-elapsed');
    }
    // A trial whose outcome is never reported must not keep the breaker half-open: the next trial may start after the
    // same time.
    this.#trialAt = now + this.#openMs;
    return 0;
  }

  /**
   * Returns the milliseconds until a call that started at this value of the sequence may be retried; 0 lets it
   * continue.
   */
  waitOf(began: number): number {
    return this.#state === 'open' && !this.#counts(began) ? Math.max(1, this.#trialAt - this.#now()) : 0;
  }

  /** Whether a call that started at this value of the sequence is counted. */
  #counts(began: number): boolean {
    return began >= this.#since;
  }

  /** Counts a successful call that spent `seconds` in the guest. */
  succeed(began: number, seconds: number): void {
    if (!this.#counts(began)) return;
    this.#consecutive = 0;
    if (this.#state === 'half-open') this.#passTrial();
    else this.#count(seconds);
  }

  /** Counts a call that the plugin failed. */
  fail(began: number, seconds: number): void {
    if (!this.#counts(began)) return;
    if (this.#state === 'half-open') {
      this.open('trial-failed');
      return;
    }
    this.#renewWindow();
    this.#consecutive++;
    this.#failures++;
    this.#count(seconds);
    if (this.#state !== 'closed') return;
    const { consecutiveFailures, minimumCalls, failureRatio } = this.#options;
    if (this.#consecutive >= consecutiveFailures) this.open('consecutive-failures');
    else if (this.#calls >= minimumCalls && this.#failures >= failureRatio * this.#calls) this.open('failure-ratio');
  }

  /**
   * Handles a call that ended without a verdict on the plugin, such as an aborted one. The time that it spent in the
   * guest is counted. After a trial that did not enter the guest, the next one may start immediately.
   */
  cancel(began: number, seconds: number): void {
    if (!this.#counts(began)) return;
    if (this.#state === 'closed') this.#addGuestTime(seconds);
    else if (this.#state === 'half-open' && seconds === 0) this.#trialAt = 0;
  }

  #count(seconds: number): void {
    this.#calls++;
    this.#addGuestTime(seconds);
  }

  #addGuestTime(seconds: number): void {
    this.#guestSeconds += seconds;
    if (this.#guestSeconds >= this.#guestSecondsLimit && !this.#renewWindow()) this.open('guest-time');
  }

  /** Starts a new window if the current one has ended. */
  #renewWindow(): boolean {
    const now = this.#now();
    if (now - this.#windowStart <= this.#options.windowMs) return false;
    this.#windowStart = now;
    this.#calls = 0;
    this.#failures = 0;
    this.#guestSeconds = 0;
    return true;
  }

  #passTrial(): void {
    this.#trialAt = 0;
    if (++this.#trialsSucceeded < this.#options.halfOpenTrials) return;
    const now = this.#now();
    this.#closedAt = now;
    this.#windowStart = now;
    this.#calls = 0;
    this.#failures = 0;
    this.#guestSeconds = 0;
    this.#change('closed', 'trials-succeeded');
  }

  /** Opens the breaker. The back-off continues from its previous value if the breaker closed recently. */
  open(cause: BreakerCause): void {
    const now = this.#now();
    const { openMs, maxOpenMs, windowMs } = this.#options;
    const relapsed = cause === 'trial-failed' || now - this.#closedAt <= windowMs;
    this.#openMs = relapsed ? Math.min(maxOpenMs, this.#openMs * 2) : openMs;
    this.#openedAt = now;
    this.#trialAt = now + this.#openMs;
    this.#consecutive = 0;
    this.#change('open', cause);
  }

  #change(state: BreakerState, cause: BreakerCause): void {
    this.#state = state;
    this.#since = ++this.#sequence.value;
    this.#changed(state, cause);
  }
}
