/**
 * Leased memory for requests and small answers. A nested call (a getter of the caller that calls the runtime) has its
 * own lease, and no view of leased memory leaves a call.
 */
import { endianness } from 'node:os';
import { HeapScratch } from '../wire/scratch.ts';

/**
 * The native layer writes the duration of the call to the first bytes. 16 bytes preserve the alignment of the message.
 */
const START = 16;
const LITTLE_ENDIAN = endianness() === 'LE';
const FIRST_BYTES = 32 * 1024;
/** A larger scratch buffer is not reused. */
const KEPT_BYTES = 2 * 1024 * 1024;
const KEPT = 4;

/** One lease. */
export class CallScratch extends HeapScratch {
  constructor() {
    super(FIRST_BYTES, START);
  }

  /**
   * Reserves space for an answer that ends at `end`. An answer that is written to cached memory and copied from there
   * costs less than one that is written to fresh memory. An answer beyond the size of reused buffers has its own
   * memory.
   */
  expect(end: number): void {
    if (end > this.bytes.length && end <= KEPT_BYTES) this.grow(end);
  }

  /** The duration of the last call without instantiation; NaN if it had no instance. */
  get seconds(): number {
    return this.view.getFloat64(0, LITTLE_ENDIAN);
  }
}

const idle: CallScratch[] = [];

/** Leases a scratch buffer for one call. */
export function leaseScratch(): CallScratch {
  return idle.pop() ?? new CallScratch();
}

/** The encoded request of a call, in newly allocated memory. */
export function encodedCopy(call: { encode(scratch: CallScratch): void }): Uint8Array {
  const scratch = leaseScratch();
  try {
    call.encode(scratch);
    const { bytes, start, headLength, tailLength, body } = scratch;
    const bodyLength = body?.length ?? 0;
    const copy = new Uint8Array(headLength + bodyLength + tailLength);
    const tail = start + headLength;
    copy.set(bytes.subarray(start, tail));
    if (body !== null) copy.set(body, headLength);
    copy.set(bytes.subarray(tail, tail + tailLength), headLength + bodyLength);
    return copy;
  } finally {
    returnScratch(scratch);
  }
}

/** Ends the lease. */
export function returnScratch(scratch: CallScratch): void {
  scratch.body = null;
  if (scratch.bytes.length <= KEPT_BYTES && idle.length < KEPT) idle.push(scratch);
}
