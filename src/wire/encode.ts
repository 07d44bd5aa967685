/**
 * Encodes values to bytes as `rkyv::to_bytes` does, in two passes. The first writes the text and bytes, leaves zeros
 * for the objects, and notes the positions (the notes are plain words). The second writes the objects from the notes
 * alone. Every property of the caller's value is read once per attempt; `writer.ts` explains why there may be two.
 *
 * The notes of an object are those of its fields, in order: for text and bytes the position and the length, for a
 * number its words, for an option a 1 before those of its value, or a single 0. The notes of a slice are
 *
 *     end  index  shift  length  [notes of the elements]
 *
 * with the index of the next notes, the index of the elements in the scratch buffer, the `shift` there, and the number
 * of elements.
 */
import { isUint8Array } from 'node:util/types';
import { InvalidArgumentError } from '../errors.ts';
import { ListMemo, type Rows } from './list-memo.ts';
import { NOTES_OF_SLICE, ObjectWriter } from './object-writer.ts';
import type { Prefix } from './prefix.ts';
import { type Message, type Plan, STEP, type Step } from './rkyv.ts';
import type { Scratch } from './scratch.ts';
import { float, floatWords, InvalidValue, MAX_RUN, NOT_ASCII } from './writer.ts';

/** The maximum distance of a relative pointer, 2 GiB. */
const MAX_DISTANCE = 0x8000_0000;
const BYTES = 'expected a Uint8Array';
const STRING_OR_BYTES = 'expected a string or a Uint8Array';

/** A list that is not memoized, and its position. */
interface UnknownList {
  readonly memo: ListMemo;
  readonly rows: Rows;
  readonly alignment: number;
  readonly from: number;
  readonly to: number;
}

class Encoder extends ObjectWriter {
  private unknown: UnknownList | null = null;

  encode(message: Message<unknown>, value: unknown, scratch: Scratch, prefix: Prefix | null, careful: boolean): void {
    this.begin(scratch, careful);
    this.unknown = null;
    scratch.headLength = 0;
    scratch.tailLength = 0;
    scratch.body = null;
    const plan = selectPlan(message, value);
    const end = prefix === null ? null : this.beginWith(prefix, plan, value);
    if (end === null) this.writeOutOfLine(plan, value);
    const at = this.leaveObjects(message.size, message.align);
    if (at + this.shift > MAX_DISTANCE) throw new InvalidValue('', 'expected an encoding of less than 2 GiB');
    this.flush();
    this.writeObject(plan, at, 0, this.shift);
    this.measure(scratch);
    if (this.unknown !== null) this.learn(this.unknown);
    if (prefix !== null && prefix.encoded === null && end !== null) {
      const bytes = new Uint8Array(this.bytes.subarray(scratch.start, end.at));
      prefix.encoded = { start: scratch.start, bytes, notes: this.notes.slice(0, end.noted) };
    }
  }

  /**
   * `writeOutOfLine` for a message that starts with `prefix`. Returns the end of the prefix; null if it does not match.
   */
  private beginWith(prefix: Prefix, plan: Plan, value: unknown): { at: number; noted: number } | null {
    const { steps } = plan;
    const fields = plan.read(value);
    const { encoded } = prefix;
    this.reserveNotes(steps.length + (encoded?.notes.length ?? 0));
    if (encoded === null) this.writeField(steps[0]!, fields[0]);
    else {
      if (encoded.start !== this.at) return null;
      this.reserve(this.at + encoded.bytes.length);
      this.bytes.set(encoded.bytes, this.at);
      this.notes.set(encoded.notes);
      this.at += encoded.bytes.length;
      this.noted = encoded.notes.length;
    }
    const { at, noted } = this;
    for (let i = 1; i < steps.length; i++) this.writeField(steps[i]!, fields[i]);
    return { at, noted };
  }

  private learn({ memo, rows, alignment, from, to }: UnknownList): void {
    this.unknown = null;
    memo.learn(rows, alignment, this.bytes.subarray(from, to));
  }

  private measure(scratch: Scratch): void {
    const written = this.at - scratch.start;
    if (scratch.body === null) scratch.headLength = written;
    else if (scratch.body.length !== this.shift + scratch.start)
      throw new InvalidValue('body', 'expected not to change while it is encoded');
    else scratch.tailLength = written - scratch.headLength;
  }

  /** First pass: writes everything that `value` points to, in field order. */
  private writeOutOfLine(plan: Plan, value: unknown): void {
    const { steps } = plan;
    const fields = plan.read(value);
    this.reserveNotes(steps.length);
    for (let i = 0; i < steps.length; i++) this.writeField(steps[i]!, fields[i]);
  }

  private writeField(step: Step, given: unknown): void {
    const value = given === undefined ? step.fallback : given;
    if (step.tagAt >= 0) {
      const present = value !== null && value !== undefined;
      this.notes[this.noted++] = present ? 1 : 0;
      if (!present) return;
    }
    switch (step.kind) {
      case STEP.text:
        if (typeof value !== 'string') throw new InvalidValue(step.path, 'expected a string');
        this.writeText(step, value);
        break;
      case STEP.latin1:
        if (typeof value === 'string') this.writeLatin1(step, value);
        else this.writeBytes(step, value, STRING_OR_BYTES);
        break;
      case STEP.json:
        if (typeof value === 'string') this.writeText(step, value);
        else this.writeBytes(step, value, STRING_OR_BYTES);
        break;
      case STEP.u32:
        this.noteInteger(step, value, 0xffff_ffff);
        break;
      case STEP.u16:
        this.noteInteger(step, value, 0xffff);
        break;
      case STEP.u64:
        this.noteU64(step, value);
        break;
      case STEP.f64:
        this.noteF64(step, value);
        break;
      case STEP.bytes:
        this.writeBytes(step, value, BYTES);
        break;
      case STEP.body:
        this.leaveBody(step, value);
        break;
      case STEP.slice:
        this.writeSlice(step, value);
        break;
      case STEP.pairs:
        this.writePairs(step, value);
        break;
      default:
        if (typeof value !== 'object' || value === null) throw new InvalidValue(step.path, 'expected an object');
        this.writeOutOfLine(step.plan!, value);
    }
  }

  /**
   * `writeOutOfLine` for a struct of strings and numbers, the most frequent case. Other values use `writeOutOfLine`.
   */
  private writeLeaves(plan: Plan, fields: readonly unknown[]): void {
    const { steps } = plan;
    const { notes, shift, careful } = this;
    let { noted, at, run } = this;
    for (let i = 0; i < steps.length; i++) {
      const step = steps[i]!;
      const field = fields[i];
      if (typeof field === 'string') {
        if (step.kind <= STEP.json && !careful) {
          notes[noted++] = at + shift;
          notes[noted++] = field.length;
          at += field.length;
          run += field;
          continue;
        }
      } else if (typeof field === 'number') {
        if (step.kind === STEP.f64) {
          float[0] = field;
          notes[noted++] = floatWords[0]!;
          notes[noted++] = floatWords[1]!;
          continue;
        }
        if (field >>> 0 === field && step.kind <= STEP.u64 && step.kind >= STEP.u32) {
          notes[noted++] = field;
          if (step.kind === STEP.u64) notes[noted++] = 0;
          continue;
        }
      }
      this.noted = noted;
      this.at = at;
      this.run = run;
      this.writeField(step, field);
      noted = this.noted;
      at = this.at;
      run = this.run;
    }
    this.noted = noted;
    this.at = at;
    this.run = run;
    if (run.length > MAX_RUN) this.flush();
  }

  /** Writes leading pairs of strings; returns their number. */
  private deferPairs(list: readonly unknown[]): number {
    if (this.careful) return 0;
    const { notes, shift } = this;
    let { noted, at, run } = this;
    let i = 0;
    for (; i + 1 < list.length && run.length <= MAX_RUN; i += 2) {
      const first = list[i];
      const second = list[i + 1];
      if (typeof first !== 'string' || typeof second !== 'string') break;
      notes[noted] = at + shift;
      notes[noted + 1] = first.length;
      at += first.length;
      notes[noted + 2] = at + shift;
      notes[noted + 3] = second.length;
      at += second.length;
      noted += 4;
      run += first;
      run += second;
    }
    this.noted = noted;
    this.at = at;
    this.run = run;
    return i >> 1;
  }

  private leaveBody(step: Step, value: unknown): void {
    if (!isUint8Array(value)) throw new InvalidValue(step.path, BYTES);
    const { scratch, at } = this;
    const { length } = value;
    scratch.body = value;
    scratch.headLength = at - scratch.start;
    this.noteRange(length);
    this.at = at;
    this.shift += length;
  }

  private writeSlice(step: Step, value: unknown): void {
    if (!Array.isArray(value)) throw new InvalidValue(step.path, 'expected an array');
    const list: readonly unknown[] = value;
    const plan = step.plan!;
    const { length } = list;
    if (plan.recurs && length > 0) {
      this.writeRecurring(step, plan, listMemoOf(plan), list);
      return;
    }
    this.reserveNotes(length * plan.steps.length);
    const start = this.beginSlice(length);
    let i = 0;
    try {
      for (; i < length; i++) {
        const element = list[i];
        if (typeof element !== 'object' || element === null) throw new InvalidValue('', 'expected an object');
        if (plan.words !== null) this.writeLeaves(plan, plan.read(element));
        else this.writeOutOfLine(plan, element);
      }
    } catch (error) {
      throw within(step, i, error);
    }
    this.endSlice(plan, length, start);
  }

  /** `writeSlice` for a list that may be memoized. */
  private writeRecurring(step: Step, plan: Plan, memo: ListMemo, list: readonly unknown[]): void {
    const { length } = list;
    this.reserveNotes(length * plan.steps.length);
    const rows = new Array<readonly unknown[]>(length);
    let i = 0;
    try {
      for (; i < length; i++) {
        const element = list[i];
        if (typeof element !== 'object' || element === null) throw new InvalidValue('', 'expected an object');
        rows[i] = plan.read(element);
      }
      const alignment = (this.at + this.shift) & (plan.align - 1);
      const block = memo.find(rows)?.blocks[alignment];
      const start = this.beginSlice(length);
      if (block === undefined) {
        const from = this.at;
        for (i = 0; i < length; i++) this.writeLeaves(plan, rows[i]!);
        this.endSlice(plan, length, start);
        this.unknown = { memo, rows, alignment, from, to: this.at };
      } else {
        this.flush();
        this.reserve(this.at + block.length);
        this.bytes.set(block, this.at);
        this.at += block.length;
        const elements = this.at - length * plan.size;
        this.closeSlice(start, elements);
        for (i = 0; i < length; i++) this.overwriteNumbers(memo, rows[i]!, elements + i * plan.size);
      }
    } catch (error) {
      throw within(step, i, error);
    }
  }

  /** Writes the numbers of the element at `at`, whose texts and pointers are already written. */
  private overwriteNumbers({ numbers }: ListMemo, row: readonly unknown[], at: number): void {
    const { view } = this;
    for (let k = 0; k < numbers.length; k++) {
      const { field, step } = numbers[k]!;
      const value = row[field] === undefined ? step.fallback : row[field];
      const target = at + step.at;
      if (step.kind !== STEP.f64 && typeof value === 'number' && value >>> 0 === value) {
        view.setUint32(target, value, true);
        if (step.kind === STEP.u64) view.setUint32(target + 4, 0, true);
      } else if (step.kind === STEP.f64 && typeof value === 'number') {
        view.setFloat64(target, value, true);
      } else {
        const { noted } = this;
        this.writeField(step, value);
        view.setInt32(target, this.notes[noted]!, true);
        if (step.kind !== STEP.u32) view.setInt32(target + 4, this.notes[noted + 1]!, true);
        this.noted = noted;
      }
    }
  }

  private writePairs(step: Step, value: unknown): void {
    if (!Array.isArray(value)) throw new InvalidValue(step.path, 'expected a flat list of pairs');
    const list: readonly unknown[] = value;
    const plan = step.plan!;
    const length = list.length >> 1;
    if (list.length !== length * 2) throw new InvalidValue(step.path, 'expected a flat list of pairs');
    const first = plan.steps[0]!;
    const second = plan.steps[1]!;
    this.reserveNotes(list.length);
    const start = this.beginSlice(length);
    let i = 0;
    try {
      for (i = this.deferPairs(list); i < length; i++) {
        this.writeField(first, list[2 * i]);
        this.writeField(second, list[2 * i + 1]);
      }
    } catch (error) {
      if (!(error instanceof InvalidValue)) throw error;
      throw new InvalidValue(`${step.path}[${i}].${error.path}`, error.expectation);
    }
    this.endSlice(plan, length, start);
  }

  /** Opens the notes of a slice; those of its elements follow. */
  private beginSlice(length: number): number {
    const start = this.noted;
    this.notes[start + 3] = length;
    this.noted = start + NOTES_OF_SLICE;
    return start;
  }

  /** Writes zeros for the elements and closes the notes of the slice. */
  private endSlice(plan: Plan, length: number, start: number): void {
    this.closeSlice(start, this.leaveObjects(length * plan.size, plan.align));
  }

  /** Closes the notes of a slice whose elements are at `at`. A slice without notes of elements is already written. */
  private closeSlice(start: number, at: number): void {
    this.notes[start] = this.noted;
    this.notes[start + 1] = at;
    this.notes[start + 2] = this.shift;
  }
}

const listMemos = new WeakMap<Plan, ListMemo>();

function listMemoOf(plan: Plan): ListMemo {
  let memo = listMemos.get(plan);
  if (memo === undefined) {
    memo = new ListMemo(plan.steps);
    listMemos.set(plan, memo);
  }
  return memo;
}

/** Adds the index of the list's element to the path of an InvalidValue. Returns other errors unchanged. */
function within(step: Step, i: number, error: unknown): unknown {
  if (!(error instanceof InvalidValue)) return error;
  const path = `${step.path}[${i}]`;
  return new InvalidValue(error.path === '' ? path : `${path}.${error.path}`, error.expectation);
}

function selectPlan(message: Message<unknown>, value: unknown): Plan {
  if (typeof value !== 'object' || value === null) throw new InvalidValue('', 'expected an object');
  if (message.tag === null) return message.plans[0]!;
  const { property, names } = message.tag;
  const index = names.indexOf((value as Record<string, string>)[property]!);
  if (index < 0) throw new InvalidValue(property, `expected one of ${names.join(', ')}`);
  return message.plans[index]!;
}

/** The reusable encoder. A getter that starts a nested encoding finds none and creates another. */
let idle: Encoder | null = new Encoder();

/**
 * Encodes `value` as rkyv does, into `scratch`: the head at `start`, followed by the tail. The body is not copied.
 * `prefix` is shared by values whose first fields are equal, and is encoded with one of them. Throws an
 * InvalidArgumentError with the field's path for an invalid value.
 */
export function encodeRequest<T>(message: Message<T>, value: T, scratch: Scratch, prefix: Prefix | null = null): void {
  const encoder = idle ?? new Encoder();
  idle = null;
  try {
    encoder.encode(message, value, scratch, prefix, false);
  } catch (error) {
    if (error !== NOT_ASCII) throw explain(message, error);
    encodeCarefully(encoder, message, value, scratch, prefix);
  } finally {
    encoder.release();
    idle = encoder;
  }
}

function encodeCarefully(
  encoder: Encoder,
  message: Message<unknown>,
  value: unknown,
  scratch: Scratch,
  prefix: Prefix | null,
): void {
  try {
    encoder.encode(message, value, scratch, prefix, true);
  } catch (error) {
    throw explain(message, error);
  }
}

function explain(message: Message<unknown>, error: unknown): unknown {
  if (!(error instanceof InvalidValue)) return error;
  return new InvalidArgumentError(error.path === '' ? message.name : error.path, error.expectation);
}
