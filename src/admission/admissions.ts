/** The asynchronous admissions of one runtime, each of which holds a copy of its module until it ends. */
import type { HotEngineConfig } from '../config.ts';
import { FairShares } from '../fair-shares.ts';

type Limits = Pick<HotEngineConfig, 'maxCompiles' | 'maxQueuedCompiles' | 'maxModuleBytes' | 'maxQueuedCompileBytes'>;

/** Limits running admissions, which principals share. */
export class Admissions {
  readonly #count: FairShares;
  readonly #bytes: FairShares;

  /** The limits are those of running and of waiting compilations together. */
  constructor({ maxCompiles, maxQueuedCompiles, maxModuleBytes, maxQueuedCompileBytes }: Limits) {
    // One admission, of a module of any size, always fits into half of the limits.
    const running = Math.max(2, maxCompiles);
    this.#count = new FairShares(running + maxQueuedCompiles);
    this.#bytes = new FairShares(running * maxModuleBytes + maxQueuedCompileBytes);
  }

  /** Starts an admission; `end` must follow. Returns false if the principal may not start another one of this size. */
  start(principal: string, bytes: number): boolean {
    if (!this.#count.take(principal, 1)) return false;
    if (this.#bytes.take(principal, bytes)) return true;
    this.#count.release(principal, 1);
    return false;
  }

  /** Ends an admission that `start` started. */
  end(principal: string, bytes: number): void {
    this.#count.release(principal, 1);
    this.#bytes.release(principal, bytes);
  }
}
