/**
 * Leased memory for requests and small answers. A nested call (a getter of the caller that calls the runtime) has its
 * own lease, and no view of leased memory leaves a call.
 */
import { endianness } from 'node:os';
import { HOOK_KINDS, type HookKind } from '../types.ts';
import { HeapScratch } from '../wire/scratch.ts';

/**
 * Offsets of the header of scratch memory, which native/binding/src/call.rs reads: the duration, which the native layer
 * writes, and the parameters of the call.
 */
const SECONDS = 0;
const HOOK = 8;
const DEADLINE_MS = 12;
const SLICE_MS = 16;
const MAX_ANSWER_BYTES = 20;
const PROBE = 24;
const REQUEST_START = 28;
const HEAD_LENGTH = 32;
const TAIL_LENGTH = 36;
const TARGET = 40;
/** The end of the header. A multiple of 16 preserves the alignment of the message. */
const START = 48;
const LITTLE_ENDIAN = endianness() === 'LE';
const FIRST_BYTES = 32 * 1024;
/** A larger scratch buffer is not reused. */
const KEPT_BYTES = 2 * 1024 * 1024;
const KEPT = 4;

/** The parameters of a call that cross to the native layer in the header. */
export interface CallParameters {
  /** The number of the module, or of the stream, for calls on this thread. */
  readonly target: number;
  readonly hook: HookKind;
  readonly deadlineMs: number;
  /** A larger answer is rejected before it is copied. */
  readonly maxAnswerBytes: number;
  /** Probes run outside the budget. */
  readonly probe: boolean;
}

const NO_BODY = new Uint8Array(0);

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

  /** The end of the encoded request without its body, after which a small answer is written. */
  get end(): number {
    return this.start + this.headLength + this.tailLength;
  }

  /** The body of the encoded request; empty for a message without one. */
  get requestBody(): Uint8Array {
    return this.body ?? NO_BODY;
  }

  /** The size of the encoded request, including its body. */
  get requestBytes(): number {
    return this.headLength + this.tailLength + this.requestBody.length;
  }

  /** Writes the parameters of a call whose request is encoded. A slice of 0 is none. */
  setParameters({ target, hook, deadlineMs, maxAnswerBytes, probe }: CallParameters, sliceMs: number): void {
    const { view } = this;
    view.setUint32(HOOK, HOOK_KINDS.indexOf(hook), LITTLE_ENDIAN);
    view.setUint32(DEADLINE_MS, deadlineMs, LITTLE_ENDIAN);
    view.setUint32(SLICE_MS, sliceMs, LITTLE_ENDIAN);
    view.setUint32(MAX_ANSWER_BYTES, maxAnswerBytes, LITTLE_ENDIAN);
    view.setUint32(PROBE, probe ? 1 : 0, LITTLE_ENDIAN);
    view.setUint32(REQUEST_START, this.start, LITTLE_ENDIAN);
    view.setUint32(HEAD_LENGTH, this.headLength, LITTLE_ENDIAN);
    view.setUint32(TAIL_LENGTH, this.tailLength, LITTLE_ENDIAN);
    view.setUint32(TARGET, target, LITTLE_ENDIAN);
  }

  /** The duration of the last call without instantiation; NaN if it had no instance. */
  get seconds(): number {
    return this.view.getFloat64(SECONDS, LITTLE_ENDIAN);
  }
}

const idle: CallScratch[] = [];

/** Leases a scratch buffer for one call. */
export function leaseScratch(): CallScratch {
  return idle.pop() ?? new CallScratch();
}

/** Ends the lease. */
export function returnScratch(scratch: CallScratch): void {
  scratch.body = null;
  if (scratch.bytes.length <= KEPT_BYTES && idle.length < KEPT) idle.push(scratch);
}
