/** The options of a call, and their checks. */
import { deadlineSchema } from './config.ts';
import { InvalidArgumentError } from './errors.ts';
import { checkBytes, checkObject } from './validate.ts';

/** Options of a synchronous call. */
export interface CallOptions {
  /** Milliseconds for this call, instead of the slot's or the runtime's. */
  readonly deadlineMs?: number | undefined;
  /**
   * Set it if the request's body does not change after the call: a shape that preserves the body may then return the
   * same bytes instead of a copy. Other calls ignore it.
   */
  readonly sharesBody?: boolean | undefined;
  /**
   * Memory for the body of the answer of a shape or of `transformResponse`, so that it does not become garbage: a body that
   * fits is written there after the call, and `body` is a view of it. Use it again when that body is no longer needed. An
   * answer that already has memory of its own is not copied: one of another thread, and one of more than 2 MiB. It is not
   * used while the slot has a monitored version, which compares the bodies later.
   */
  readonly bodyInto?: Uint8Array | undefined;
}

/** Options of an asynchronous call. */
export interface AsyncCallOptions extends CallOptions {
  /** Removes a queued call from the queue and interrupts a running one; the promise rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
  /**
   * The thread of the call. `auto` (the default) selects another thread if the request is large or earlier calls took
   * long, else this thread for `inlineSliceMs` of CPU time; a call that exceeds it is repeated on another.
   */
  readonly where?: 'auto' | 'inline' | 'thread' | undefined;
}

/** The thread of an asynchronous call. */
export type Where = NonNullable<AsyncCallOptions['where']>;

const OPTIONS: ReadonlySet<string> = new Set(['deadlineMs', 'signal', 'where', 'sharesBody', 'bodyInto']);

/**
 * Rejects unknown options, such as a misspelled `deadlineMs`. The synchronous forms accept the options of the
 * asynchronous ones, so that a caller can use one object for both.
 */
export function checkCallOptions(options: object): void {
  checkObject(options, 'options');
  for (const name in options) {
    if (!OPTIONS.has(name)) throw new InvalidArgumentError(`options.${name}`, 'unknown field');
  }
  const { bodyInto } = options as CallOptions;
  if (bodyInto !== undefined) checkBytes(bodyInto, 'options.bodyInto');
}

/** Throws an InvalidArgumentError for any other value. */
export function checkWhere(where: unknown): asserts where is Where {
  if (where !== 'auto' && where !== 'inline' && where !== 'thread') {
    throw new InvalidArgumentError('options.where', "expected 'auto', 'inline' or 'thread'");
  }
}

/** Returns a valid deadline in milliseconds. Throws an InvalidArgumentError for any other value. */
export function checkDeadline(deadlineMs: unknown): number {
  const parsed = deadlineSchema.safeParse(deadlineMs);
  if (!parsed.success) {
    throw new InvalidArgumentError('options.deadlineMs', 'expected an integer of milliseconds from 1 to 2147483647');
  }
  return parsed.data;
}
