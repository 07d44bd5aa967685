/**
 * Writes the leaves of a message (text, bytes and numbers) to a scratch buffer, and notes their positions. Structs are
 * in encode.ts.
 *
 * Most text is ASCII. The first attempt joins the strings of a message, with zeros for the objects between them, and
 * encodes them with one call, which is much cheaper than one call each. If it finds other characters, a second attempt
 * writes and checks each string separately.
 */
import type { Buffer } from 'node:buffer';
import { isUint8Array } from 'node:util/types';
import type { Step } from './rkyv.ts';
import { HeapScratch, type Scratch } from './scratch.ts';

/** A value that cannot be encoded; converted to an InvalidArgumentError when its complete path is known. */
export class InvalidValue {
  readonly path: string;
  readonly expectation: string;
  constructor(path: string, expectation: string) {
    this.path = path;
    this.expectation = expectation;
  }
}

/** Thrown to end the first attempt. */
export const NOT_ASCII = Symbol('not ASCII');
/** A longer run of joined text is written first. */
export const MAX_RUN = 65_536;
/** Up to this length, a loop over the characters is faster than a call of a built-in function. */
const SHORT = 64;
/** The maximum number of notes of a field: an option's tag and the four of a slice. */
const NOTES_PER_FIELD = 5;
/** Zeros for the objects between two strings; larger ones are written directly. */
const ZEROS = '\0'.repeat(4096);
/** The maximum number of notes whose list is reused for the next message. */
const MAX_IDLE_NOTES = 65_536;
// biome-ignore lint/suspicious/noControlCharactersInRegex: the class contains all of latin1
const BEYOND_LATIN1 = /[^\u0000-\u00ff]/;
const NO_SCRATCH: Scratch = new HeapScratch(0);
/** Converts a float to two words. */
export const float: Float64Array = new Float64Array(1);
export const floatWords: Int32Array = new Int32Array(float.buffer);

/** Writes leaves consecutively to one scratch buffer at a time. */
export class Writer {
  protected scratch: Scratch = NO_SCRATCH;
  protected bytes: Buffer = NO_SCRATCH.bytes;
  protected view: DataView = NO_SCRATCH.view;
  protected careful = false;
  /** The position of the next byte in `bytes`, after the pending text in `run`. */
  protected at = 0;
  /** Pending text that is assumed to be ASCII; it ends at `at`. */
  protected run = '';
  /** Added to an index into `bytes`, gives the position in the message. */
  protected shift = 0;
  protected notes: Int32Array = new Int32Array(1_024);
  protected noted = 0;

  protected begin(scratch: Scratch, careful: boolean): void {
    this.scratch = scratch;
    this.bytes = scratch.bytes;
    this.view = scratch.view;
    this.careful = careful;
    this.at = scratch.start;
    this.run = '';
    this.shift = -scratch.start;
    this.noted = 0;
  }

  /** Clears references to the caller's values. */
  release(): void {
    this.scratch = NO_SCRATCH;
    this.run = '';
    if (this.notes.length > MAX_IDLE_NOTES) this.notes = new Int32Array(1_024);
  }

  protected reserve(end: number): void {
    if (end <= this.bytes.length) return;
    this.scratch.grow(end);
    this.bytes = this.scratch.bytes;
    this.view = this.scratch.view;
  }

  protected reserveNotes(fields: number): void {
    const needed = this.noted + fields * NOTES_PER_FIELD;
    if (needed <= this.notes.length) return;
    const larger = new Int32Array(needed * 2);
    larger.set(this.notes);
    this.notes = larger;
  }

  protected writeText(step: Step, value: string): void {
    if (!this.careful) this.defer(value);
    else if (!this.writeShort(value, 0x7f)) {
      if (!value.isWellFormed()) throw new InvalidValue(step.path, 'expected a string without lone surrogates');
      this.reserve(this.at + value.length * 3);
      this.noteRange(this.bytes.write(value, this.at, 'utf8'));
    }
  }

  protected writeLatin1(step: Step, value: string): void {
    if (!this.careful) this.defer(value);
    else if (!this.writeShort(value, 0xff)) {
      if (BEYOND_LATIN1.test(value)) throw new InvalidValue(step.path, 'expected no code unit above U+00FF');
      this.reserve(this.at + value.length);
      this.noteRange(this.bytes.write(value, this.at, 'latin1'));
    }
  }

  /** Writes a short string of code units up to `max` as bytes; false for any other. */
  private writeShort(value: string, max: number): boolean {
    const { length } = value;
    if (length > SHORT) return false;
    this.reserve(this.at + length);
    const { bytes, at } = this;
    for (let i = 0; i < length; i++) {
      const unit = value.charCodeAt(i);
      if (unit > max) return false;
      bytes[at + i] = unit;
    }
    this.noteRange(length);
    return true;
  }

  /** Appends `value` to the pending text on the assumption that it is ASCII, which `flush` checks. */
  private defer(value: string): void {
    this.noteRange(value.length);
    this.run += value;
    if (this.run.length > MAX_RUN) this.flush();
  }

  /** Writes the pending text. */
  protected flush(): void {
    const { run, at } = this;
    if (run.length === 0) return;
    this.run = '';
    const start = at - run.length;
    this.reserve(start + run.length * 3);
    if (this.bytes.write(run, start, run.length * 3) !== run.length) throw NOT_ASCII;
  }

  protected writeBytes(step: Step, value: unknown, expectation: string): void {
    if (!isUint8Array(value)) throw new InvalidValue(step.path, expectation);
    this.flush();
    const { at } = this;
    this.reserve(at + value.length);
    this.bytes.set(value, at);
    this.noteRange(value.length);
  }

  /** Writes zeros for aligned objects of `size` bytes in total. Returns their position. */
  protected leaveObjects(size: number, align: number): number {
    const from = this.at;
    const at = from + (-(from + this.shift) & (align - 1));
    const end = at + size;
    if (this.run.length === 0 || end - from > ZEROS.length) {
      this.flush();
      this.reserve(end);
      this.bytes.fill(0, from, end);
    } else if (end > from) this.run += ZEROS.substring(0, end - from);
    this.at = end;
    return at;
  }

  /** Notes the next `length` bytes and skips them. */
  protected noteRange(length: number): void {
    const { notes, noted, at } = this;
    notes[noted] = at + this.shift;
    notes[noted + 1] = length;
    this.noted = noted + 2;
    this.at = at + length;
  }

  protected noteInteger(step: Step, value: unknown, max: number): void {
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > max)
      throw new InvalidValue(step.path, `expected an integer from 0 to ${max}`);
    this.notes[this.noted++] = value;
  }

  protected noteU64(step: Step, value: unknown): void {
    if (typeof value === 'number' && value >= 0 && Number.isSafeInteger(value)) {
      this.notes[this.noted++] = value;
      this.notes[this.noted++] = value / 0x1_0000_0000;
    } else if (typeof value === 'bigint' && value >= 0n && value <= 0xffff_ffff_ffff_ffffn) {
      this.notes[this.noted++] = Number(value & 0xffff_ffffn);
      this.notes[this.noted++] = Number(value >> 32n);
    } else throw new InvalidValue(step.path, 'expected an integer from 0 to 2^64 - 1, as a bigint past 2^53 - 1');
  }

  protected noteF64(step: Step, value: unknown): void {
    if (typeof value !== 'number') throw new InvalidValue(step.path, 'expected a number');
    float[0] = value;
    this.notes[this.noted++] = floatWords[0]!;
    this.notes[this.noted++] = floatWords[1]!;
  }
}
