/** The breaker of a slot version. For a global slot, it counts each calling principal separately. */
import { Breaker, type BreakerCause, type BreakerOptions, type BreakerState, type Sequence } from './breaker.ts';

/** A calling principal is counted from its first failure or its first call of this duration on. */
const COUNTED_SECONDS = 0.001;

/** A state change of a breaker. */
export interface BreakerChange {
  readonly state: BreakerState;
  readonly cause: BreakerCause;
  /** The affected calling principal; null is all. */
  readonly principal: string | null;
}

/** The verdict of a call on its plugin: success, failure, or none. */
export type CallVerdict = 'success' | 'failure' | 'none';

/**
 * The breaker of a slot version. With `perPrincipal`, each principal has its own breaker, and the version opens for all
 * when `openPrincipals` of them open within one window: the requests of one client cannot disable a plugin for others.
 */
export class SlotBreaker {
  readonly #options: BreakerOptions;
  readonly #now: () => number;
  readonly #changed: (change: BreakerChange) => void;
  readonly #sequence: Sequence = { value: 0 };
  readonly #all: Breaker;
  /** Null for a slot that one principal owns. */
  readonly #principals: Map<string, Breaker> | null;

  constructor(
    options: BreakerOptions,
    perPrincipal: boolean,
    changed: (change: BreakerChange) => void,
    now: () => number = () => performance.now(),
  ) {
    this.#options = options;
    this.#now = now;
    this.#changed = changed;
    this.#principals = perPrincipal ? new Map() : null;
    this.#all = this.#breaker(null);
  }

  /** The state for all. */
  get state(): BreakerState {
    return this.#all.state;
  }

  /** The number of calling principals whose breaker is not closed. */
  get openPrincipals(): number {
    let open = 0;
    for (const { state } of this.#principals?.values() ?? []) if (state !== 'closed') open++;
    return open;
  }

  /** Identifies the start of a call; to be passed to `exit`. */
  get began(): number {
    return this.#sequence.value;
  }

  /** Returns the milliseconds until `principal` may call; 0 allows this call, and `exit` must follow. */
  enter(principal: string): number {
    const own = this.#principals === null || this.#principals.size === 0 ? undefined : this.#principals.get(principal);
    const wait = own === undefined ? 0 : own.enter();
    if (wait > 0) return wait;
    const waitOfAll = this.#all.enter();
    if (waitOfAll > 0) own?.cancel(this.#sequence.value, 0);
    return waitOfAll;
  }

  /** Returns the milliseconds that an allowed call must wait if the breaker has opened since; else 0. */
  waitOf(began: number, principal: string): number {
    if (began === this.#sequence.value) return 0;
    return Math.max(this.#all.waitOf(began), this.#principals?.get(principal)?.waitOf(began) ?? 0);
  }

  /** Counts the end of a call that `enter` allowed. */
  exit(began: number, principal: string, verdict: CallVerdict, seconds: number): void {
    const principals = this.#principals;
    if (principals === null) {
      report(this.#all, began, verdict, seconds);
      return;
    }
    if (this.#all.state === 'half-open') report(this.#all, began, verdict, 0);
    const counted = verdict === 'failure' || seconds >= COUNTED_SECONDS;
    if (principals.size === 0 && !counted) return;
    const own = principals.get(principal) ?? (counted ? this.#add(principals, principal) : undefined);
    if (own !== undefined) report(own, began, verdict, seconds);
  }

  #add(principals: Map<string, Breaker>, principal: string): Breaker {
    if (principals.size >= this.#options.maxPrincipals) principals.delete(leastUseful(principals));
    const own = this.#breaker(principal);
    principals.set(principal, own);
    return own;
  }

  #breaker(principal: string | null): Breaker {
    return new Breaker(this.#options, this.#sequence, this.#now, (state, cause) => {
      this.#changed({ state, cause, principal });
      if (principal !== null && state === 'open') this.#openForAllIfSeveral();
    });
  }

  #openForAllIfSeveral(): void {
    if (this.#all.state !== 'closed') return;
    const from = this.#now() - this.#options.windowMs;
    let recent = 0;
    for (const { openedAt } of this.#principals?.values() ?? []) if (openedAt >= from) recent++;
    if (recent >= this.#options.openPrincipals) this.#all.open('principals');
  }
}

function report(breaker: Breaker, began: number, verdict: CallVerdict, seconds: number): void {
  if (verdict === 'success') breaker.succeed(began, seconds);
  else if (verdict === 'failure') breaker.fail(began, seconds);
  else breaker.cancel(began, seconds);
}

/** Returns the first entry whose breaker is closed, else the first. Entries are in insertion order. */
function leastUseful(principals: Map<string, Breaker>): string {
  for (const [principal, { state }] of principals) if (state === 'closed') return principal;
  return principals.keys().next().value!;
}
