/**
 * The breakers of an upstream: one for all principals, and one for each whose requests it did not answer. An upstream may
 * close the connection because of a request, such as a too large one, so that the requests of one principal must not keep
 * those of others from an upstream.
 */
import { Breaker, type BreakerOptions, type BreakerState, worstState } from './breaker.ts';

/** From this number of principals on, unanswered requests are the upstream's fault. */
const SEVERAL = 3;

/** A sent request. The methods report how it ended; at most one of them is called. */
export class BreakerCall {
  readonly #breaker: UpstreamBreaker;
  readonly #principal: string;
  readonly #isTrialOfAll: boolean;
  readonly #isOwnTrial: boolean;

  constructor(breaker: UpstreamBreaker, principal: string, isTrialOfAll: boolean, isOwnTrial: boolean) {
    this.#breaker = breaker;
    this.#principal = principal;
    this.#isTrialOfAll = isTrialOfAll;
    this.#isOwnTrial = isOwnTrial;
  }

  /** The upstream has answered. */
  succeeded(): void {
    this.#breaker.succeeded(this.#principal);
  }

  /** The upstream did not answer. `wasSent`: it could be reached, so the request may be the reason. */
  failed(wasSent: boolean): void {
    this.#breaker.failed(this.#principal, wasSent && !this.#isTrialOfAll);
  }

  /** The request ended without a result, because its client disconnected. */
  abandoned(): void {
    this.#breaker.abandoned(this.#principal, this.#isTrialOfAll, this.#isOwnTrial);
  }
}

/** The breakers of one upstream. */
export class UpstreamBreaker {
  readonly #options: BreakerOptions;
  readonly #all: Breaker;
  /** The breakers of principals with unanswered requests since their last answer. */
  readonly #own = new Map<string, Breaker>();
  /** The principals of the unanswered requests since the last answer to anyone. */
  readonly #unanswered = new Set<string>();

  constructor(options: BreakerOptions) {
    this.#options = options;
    this.#all = new Breaker(options);
  }

  /** The worst state of the breakers. */
  get state(): BreakerState {
    return worstState([this.#all, ...this.#own.values()].map(({ state }) => state));
  }

  /** Whether a request of the principal may be sent now. */
  admits(principal: string): boolean {
    return this.#all.admits && (this.#own.size === 0 || this.#own.get(principal)?.admits !== false);
  }

  /** Reports a sent request. */
  begin(principal: string): BreakerCall {
    return new BreakerCall(this, principal, this.#all.begin(), this.#own.get(principal)?.begin() === true);
  }

  /** For `BreakerCall`. */
  succeeded(principal: string): void {
    this.#all.succeeded();
    this.#own.delete(principal);
    this.#unanswered.clear();
  }

  /** For `BreakerCall`. */
  failed(principal: string, isOwn: boolean): void {
    const own = this.#own.get(principal) ?? new Breaker(this.#options);
    this.#own.set(principal, own);
    own.failed();
    this.#unanswered.add(principal);
    if (!isOwn || this.#unanswered.size >= SEVERAL) this.#all.failed();
  }

  /** For `BreakerCall`. */
  abandoned(principal: string, isTrialOfAll: boolean, isOwnTrial: boolean): void {
    if (isTrialOfAll) this.#all.abandoned();
    if (isOwnTrial) this.#own.get(principal)?.abandoned();
  }
}
