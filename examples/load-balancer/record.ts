/** Reports about requests, for the log. */

/** A report to the operator. */
export interface LogEntry {
  readonly level: 'warn' | 'error';
  readonly requestId: string;
  readonly message: string;
  readonly error: unknown;
}

/** The number of records that each worker keeps, and that the status page shows. */
export const RECENT_REQUESTS = 20;

/** The record of a request for the log and the status page. */
export interface RequestRecord {
  readonly requestId: string;
  readonly method: string;
  readonly path: string;
  readonly principal: string | null;
  readonly upstream: string | null;
  /** 499 if the client disconnected before the answer. */
  readonly status: number;
  /** Whether the complete answer was sent; false if the upstream or the client closed its connection before. */
  readonly isComplete: boolean;
  readonly durationMs: number;
  /** The decision of each filter, with its reason. */
  readonly decisions: readonly { readonly plugin: string; readonly kept: number | null; readonly reason: string }[];
  /** Upstreams that could not be reached for this request, or had no free connection. */
  readonly passedOver: number;
  /** `Date.now()` milliseconds. */
  readonly endedAt: number;
}
