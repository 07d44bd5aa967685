/** A request to one upstream with undici. */
import type { IncomingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';
import type { Answer } from './answer.ts';
import { isUnsendable } from './failure.ts';
import type { Upstream } from './upstream.ts';
import type { BreakerCall } from './upstream-breaker.ts';

/** Receives the events of an attempt. */
export interface AttemptOwner {
  /** The head of the answer arrived; returns the receiver of its body. */
  answered(attempt: Attempt, status: number, headers: IncomingHttpHeaders): Answer;
  /** A chunk is about to be forwarded. */
  received(attempt: Attempt, chunk: Buffer): void;
  /** The answer is complete. */
  completed(attempt: Attempt): void;
  /** The request could not be sent, or its answer is incomplete. */
  failed(attempt: Attempt, error: Error): void;
}

/**
 * Passed to undici when an answer is no longer needed. It is shared, because capturing a stack for each would be waste.
 */
const ABANDONED = new Error('the answer is no longer needed');

/** A request to one upstream, or to the origin that a shape chose. Reports its result to the breaker of the upstream. */
export class Attempt implements Dispatcher.DispatchHandler {
  readonly upstream: Upstream;
  /** Resumes reading the answer. */
  readonly resume = (): void => this.#controller?.resume();
  readonly #owner: AttemptOwner;
  readonly #principal: string;
  readonly #isElsewhere: boolean;
  readonly #call: BreakerCall;
  /** Refers to the body of the request; undefined before the request starts and after it ends. */
  #controller: Dispatcher.DispatchController | undefined;
  #answer: Answer | undefined;
  #isAbandoned = false;
  #hasBegun = false;
  #hasEnded = false;

  /** `isElsewhere`: the request is sent to another origin, whose failures are not those of the upstream. */
  constructor(owner: AttemptOwner, upstream: Upstream, principal: string, isElsewhere: boolean) {
    this.#owner = owner;
    this.upstream = upstream;
    this.#principal = principal;
    this.#isElsewhere = isElsewhere;
    this.#call = upstream.begin(principal);
  }

  /** Whether the upstream may have received a part of the request. */
  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  /** Aborts the request at the upstream, unless it has ended. */
  abandon(): void {
    if (this.#isAbandoned || this.#hasEnded) return;
    this.#isAbandoned = true;
    if (this.#answer === undefined) this.#call.abandoned();
    this.#controller?.abort(ABANDONED);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#isAbandoned) controller.abort(ABANDONED);
    this.#hasBegun = true;
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    // Informational responses are not forwarded.
    if (status < 200 || this.#isAbandoned) return;
    this.#call.succeeded();
    this.#answer = this.#owner.answered(this, status, headers);
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#isAbandoned) return;
    this.#owner.received(this, chunk);
    if (!this.#answer!.data(chunk)) controller.pause();
  }

  onResponseEnd(): void {
    this.#end();
    if (this.#isAbandoned) return;
    this.#answer!.end();
    this.#owner.completed(this);
  }

  onResponseError(_: Dispatcher.DispatchController, error: Error): void {
    this.#end();
    if (this.#isAbandoned) return;
    if (this.#answer === undefined) {
      if (isUnsendable(error)) this.#call.abandoned();
      else this.#call.failed(this.#hasBegun || this.#isElsewhere);
    }
    this.#owner.failed(this, error);
  }

  /** Releases the connection. undici also reports an error that `onResponseEnd` throws, so this may be called twice. */
  #end(): void {
    this.#controller = undefined;
    if (!this.#hasEnded) this.upstream.ended(this.#principal);
    this.#hasEnded = true;
  }
}
