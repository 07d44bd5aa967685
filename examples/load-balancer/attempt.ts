/** One request to one upstream, as undici reports on it. */
import type { IncomingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';
import type { Answer } from './answer.ts';
import type { Upstream } from './upstream.ts';

/** Who is told what happens to an attempt. */
export interface AttemptOwner {
  /** The head of the answer has come; gives what takes its body. */
  answered(attempt: Attempt, status: number, headers: IncomingHttpHeaders): Answer;
  /** A chunk is about to be handed on. */
  received(chunk: Buffer): void;
  /** The answer is whole. */
  completed(attempt: Attempt): void;
  failed(attempt: Attempt, error: Error): void;
}

/** Given to undici where nobody waits for an answer any more. An error for each would have a stack that nobody reads. */
const ABANDONED = new Error('nobody waits for the answer');

/** One request to one upstream. Reports to its upstream's breaker. */
export class Attempt implements Dispatcher.DispatchHandler {
  readonly upstream: Upstream;
  /** Asks for more of the answer. */
  readonly resume = (): void => this.#controller?.resume();
  readonly #owner: AttemptOwner;
  readonly #isTrial: boolean;
  #controller: Dispatcher.DispatchController | undefined;
  #answer: Answer | undefined;
  #isAbandoned = false;
  #hasBegun = false;

  constructor(owner: AttemptOwner, upstream: Upstream) {
    this.#owner = owner;
    this.upstream = upstream;
    this.#isTrial = upstream.breaker.begin();
  }

  /** Whether the upstream may have got any of the request. */
  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  /** Ends the request at the upstream. */
  abandon(): void {
    if (this.#isAbandoned) return;
    this.#isAbandoned = true;
    if (this.#isTrial && this.#answer === undefined) this.upstream.breaker.abandoned();
    this.#controller?.abort(ABANDONED);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#isAbandoned) controller.abort(ABANDONED);
    this.#hasBegun = true;
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    // Interim answers are between this hop and its upstream.
    if (status < 200 || this.#isAbandoned) return;
    this.upstream.breaker.succeeded();
    this.#answer = this.#owner.answered(this, status, headers);
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#isAbandoned) return;
    this.#owner.received(chunk);
    if (!this.#answer!.data(chunk)) controller.pause();
  }

  onResponseEnd(): void {
    if (this.#isAbandoned) return;
    this.#answer!.end();
    this.#owner.completed(this);
  }

  onResponseError(_: Dispatcher.DispatchController, error: Error): void {
    if (this.#isAbandoned) return;
    if (this.#answer === undefined) this.upstream.breaker.failed();
    this.#owner.failed(this, error);
  }
}
