/**
 * Leased memory for requests and small answers. A nested call (a getter of the caller's that calls the runtime again)
 * gets its own, and no view of it leaves a call.
 */
import { endianness } from 'node:os';
import { HeapScratch } from '../wire/scratch.ts';

/** The native layer leaves the call's duration in the first bytes; 16 keeps what follows aligned. */
const START = 16;
const LITTLE_ENDIAN = endianness() === 'LE';
const FIRST_BYTES = 32 * 1024;
/** A larger one served an unusual request and is not kept. */
const KEPT_BYTES = 2 * 1024 * 1024;
const KEPT = 4;

/** One lease. */
export class CallScratch extends HeapScratch {
  constructor() {
    super(FIRST_BYTES, START);
  }

  /**
   * Makes room for calls whose answer ends at `end`: written to memory that is warm and copied from there, an answer
   * costs less than one written to fresh memory. Beyond what is kept, it has memory of its own.
   */
  expect(end: number): void {
    if (end > this.bytes.length && end <= KEPT_BYTES) this.grow(end);
  }

  /** How long the last call took from after instantiation, NaN if it never had an instance. */
  get seconds(): number {
    return this.view.getFloat64(0, LITTLE_ENDIAN);
  }
}

const idle: CallScratch[] = [];

/** Leases a scratch for one call. */
export function leaseScratch(): CallScratch {
  return idle.pop() ?? new CallScratch();
}

/** Ends the lease. */
export function returnScratch(scratch: CallScratch): void {
  scratch.body = null;
  if (scratch.bytes.length <= KEPT_BYTES && idle.length < KEPT) idle.push(scratch);
}
