/**
 * Values to bytes, as `rkyv::to_bytes` writes them. Two passes over each object, as in rkyv: the first writes what lies
 * out of line and notes where (the notes are plain u32s), the second writes the object itself from the notes alone.
 * Every property of the caller's value is read once.
 */
import { isUint8Array } from 'node:util/types';
import { InvalidArgumentError } from '../errors.ts';
import { type Message, type Plan, STEP, type Step } from './rkyv.ts';
import { HeapScratch, type Scratch } from './scratch.ts';

/** A value that cannot cross; becomes an InvalidArgumentError once its whole path is known. */
class Refusal {
  readonly path: string;
  readonly expectation: string;
  constructor(path: string, expectation: string) {
    this.path = path;
    this.expectation = expectation;
  }
  within(owner: string): Refusal {
    return new Refusal(this.path === '' ? owner : `${owner}.${this.path}`, this.expectation);
  }
}

/** Up to here a loop over the characters beats a call into the engine. */
const SHORT = 160;
/** A relative pointer reaches 2 GiB back. */
const MAX_DISTANCE = 0x8000_0000;
/** Notes kept for the next message; a larger list is let go. */
const MAX_IDLE_NOTES = 65_536;
const LONE_SURROGATE = /\p{Surrogate}/u;
// biome-ignore lint/suspicious/noControlCharactersInRegex: the class is all of latin1
const BEYOND_LATIN1 = /[^\u0000-\u00ff]/;
const BYTES = 'must be a Uint8Array';
const STRING_OR_BYTES = 'must be a string or a Uint8Array';
const NOT_LATIN1 = 'must be a string of code units up to U+00FF, or a Uint8Array';
const utf8 = new TextEncoder();
const NO_BYTES = new Uint8Array(0);
const float = new Float64Array(1);
const floatBits = new Uint32Array(float.buffer);

class Encoder {
  private scratch: Scratch | null = null;
  private bytes: Uint8Array = NO_BYTES;
  private view: DataView = new DataView(NO_BYTES.buffer);
  /** Where the next byte goes in `bytes`. */
  private at = 0;
  /** What turns an index into `bytes` into a position in the message. */
  private shift = 0;
  private notes = new Uint32Array(512);
  private noted = 0;

  encode(message: Message<unknown>, value: unknown, scratch: Scratch): void {
    this.scratch = scratch;
    this.adopt(scratch.bytes);
    this.at = scratch.start;
    this.shift = -scratch.start;
    this.noted = 0;
    scratch.headLength = -1;
    scratch.tailLength = 0;
    scratch.body = null;
    const plan = selectPlan(message, value);
    this.writeOutOfLine(plan, value);
    this.align(message.align);
    if (this.at + this.shift > MAX_DISTANCE) throw new Refusal('', 'must encode to less than 2 GiB');
    this.reserve(message.size);
    this.bytes.fill(0, this.at, this.at + message.size);
    this.noted = 0;
    this.writeObject(plan, this.at);
    this.at += message.size;
    const written = this.at - scratch.start;
    const { body } = scratch as Scratch;
    if (body === null) scratch.headLength = written;
    else if (body.length !== this.shift + scratch.start)
      throw new Refusal('body', 'must not change while it is encoded');
    else scratch.tailLength = written - scratch.headLength;
  }

  release(): void {
    this.scratch = null;
    if (this.notes.length > MAX_IDLE_NOTES) this.notes = new Uint32Array(512);
  }

  private adopt(bytes: Uint8Array): void {
    if (bytes === this.bytes) return;
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  private reserve(length: number): void {
    const end = this.at + length;
    if (end <= this.bytes.length) return;
    const scratch = this.scratch!;
    scratch.grow(end);
    this.adopt(scratch.bytes);
  }

  private align(align: number): void {
    const padding = -(this.at + this.shift) & (align - 1);
    if (padding === 0) return;
    this.reserve(padding);
    this.bytes.fill(0, this.at, this.at + padding);
    this.at += padding;
  }

  private note(value: number): void {
    if (this.noted === this.notes.length) {
      const larger = new Uint32Array(this.notes.length * 2);
      larger.set(this.notes);
      this.notes = larger;
    }
    this.notes[this.noted++] = value;
  }

  /** First pass: everything that `value` points to, in field order. */
  private writeOutOfLine(plan: Plan, value: unknown): void {
    const { steps } = plan;
    const fields = plan.read(value);
    for (let i = 0; i < steps.length; i++) {
      const step = steps[i]!;
      this.writeField(step, fields[i]);
    }
  }

  private writeField(step: Step, given: unknown): void {
    const value = given === undefined ? step.fallback : given;
    if (step.tagAt >= 0) {
      const absent = value === null || value === undefined;
      this.note(absent ? 0 : 1);
      if (absent) return;
    }
    switch (step.kind) {
      case STEP.text:
        this.writeText(step.path, value);
        break;
      case STEP.latin1:
        if (typeof value === 'string') this.writeLatin1(step.path, value);
        else this.writeBytes(step.path, value, STRING_OR_BYTES);
        break;
      case STEP.json:
        if (typeof value === 'string') this.writeText(step.path, value);
        else this.writeBytes(step.path, value, STRING_OR_BYTES);
        break;
      case STEP.bytes:
        this.writeBytes(step.path, value, BYTES);
        break;
      case STEP.body:
        this.leaveBody(step.path, value);
        break;
      case STEP.slice:
        this.writeSlice(step, value);
        break;
      case STEP.pairs:
        this.writePairs(step, value);
        break;
      case STEP.struct:
        if (typeof value !== 'object' || value === null) throw new Refusal(step.path, 'must be an object');
        this.writeOutOfLine(step.plan!, value);
        break;
      case STEP.u64:
        this.noteU64(step.path, value);
        break;
      case STEP.u32:
        this.noteInteger(step.path, value, 0xffff_ffff);
        break;
      case STEP.u16:
        this.noteInteger(step.path, value, 0xffff);
        break;
      default:
        this.noteF64(step.path, value);
    }
  }

  private writeText(path: string, value: unknown): void {
    if (typeof value !== 'string') throw new Refusal(path, 'must be a string');
    const { length } = value;
    this.reserve(length);
    const start = this.at;
    let i = 0;
    if (length <= SHORT) {
      const { bytes } = this;
      for (; i < length; i++) {
        const code = value.charCodeAt(i);
        if (code >= 0x80) break;
        bytes[start + i] = code;
      }
    }
    this.note(start + this.shift);
    if (i === length) {
      this.note(length);
      this.at = start + length;
    } else this.note(this.writeLongText(path, value));
  }

  private writeLongText(path: string, value: string): number {
    if (LONE_SURROGATE.test(value)) throw new Refusal(path, 'must be a well-formed string, without lone surrogates');
    this.reserve(value.length * 3);
    const { written } = utf8.encodeInto(value, this.bytes.subarray(this.at));
    this.at += written;
    return written;
  }

  private writeLatin1(path: string, value: string): void {
    const { length } = value;
    this.reserve(length);
    const { bytes, at } = this;
    if (length <= SHORT) {
      for (let i = 0; i < length; i++) {
        const code = value.charCodeAt(i);
        if (code > 0xff) throw new Refusal(path, NOT_LATIN1);
        bytes[at + i] = code;
      }
    } else {
      if (BEYOND_LATIN1.test(value)) throw new Refusal(path, NOT_LATIN1);
      Buffer.from(bytes.buffer, bytes.byteOffset + at, length).write(value, 'latin1');
    }
    this.note(at + this.shift);
    this.note(length);
    this.at = at + length;
  }

  private writeBytes(path: string, value: unknown, expectation: string): void {
    if (!isUint8Array(value)) throw new Refusal(path, expectation);
    const { length } = value;
    this.reserve(length);
    this.bytes.set(value, this.at);
    this.note(this.at + this.shift);
    this.note(length);
    this.at += length;
  }

  private leaveBody(path: string, value: unknown): void {
    if (!isUint8Array(value)) throw new Refusal(path, BYTES);
    const scratch = this.scratch!;
    const { length } = value;
    this.note(this.at + this.shift);
    this.note(length);
    scratch.body = value;
    scratch.headLength = this.at - scratch.start;
    this.shift += length;
  }

  private writeSlice(step: Step, value: unknown): void {
    if (!Array.isArray(value)) throw new Refusal(step.path, 'must be an array');
    const list: readonly unknown[] = value;
    const plan = step.plan!;
    const { length } = list;
    const before = this.noted;
    let i = 0;
    try {
      for (; i < length; i++) {
        const element = list[i];
        if (typeof element !== 'object' || element === null) throw new Refusal('', 'must be an object');
        this.writeOutOfLine(plan, element);
      }
    } catch (error) {
      throw error instanceof Refusal ? error.within(`${step.path}[${i}]`) : error;
    }
    this.writeElements(plan, length, before);
  }

  private writePairs(step: Step, value: unknown): void {
    if (!Array.isArray(value)) throw new Refusal(step.path, 'must be a list of pairs');
    const list: readonly unknown[] = value;
    const plan = step.plan!;
    const length = list.length >> 1;
    if (list.length !== length * 2) throw new Refusal(step.path, 'must hold a value for each name');
    const first = plan.steps[0]!;
    const second = plan.steps[1]!;
    const before = this.noted;
    let i = 0;
    try {
      for (; i < length; i++) {
        this.writeField(first, list[2 * i]);
        this.writeField(second, list[2 * i + 1]);
      }
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      throw new Refusal(`${step.path}[${i}]`, `the ${error.path} ${error.expectation}`);
    }
    this.writeElements(plan, length, before);
  }

  /** Second pass over the elements of a slice: `notes[before, noted)` give way to the slice's own. */
  private writeElements(plan: Plan, length: number, before: number): void {
    this.align(plan.align);
    const { at } = this;
    const size = length * plan.size;
    this.reserve(size);
    this.bytes.fill(0, at, at + size);
    this.noted = before;
    for (let i = 0; i < length; i++) this.writeObject(plan, at + i * plan.size);
    this.noted = before;
    this.note(at + this.shift);
    this.note(length);
    this.at = at + size;
  }

  /** Second pass: the object at `at`, from its notes. Its bytes are zero beforehand. */
  private writeObject(plan: Plan, at: number): void {
    const { view, notes } = this;
    const { steps } = plan;
    if (plan.tagAt >= 0) view.setUint8(at + plan.tagAt, plan.tag);
    for (let i = 0; i < steps.length; i++) {
      const step = steps[i]!;
      if (step.tagAt >= 0) {
        if (notes[this.noted++] === 0) continue;
        view.setUint8(at + step.tagAt, 1);
      }
      const target = at + step.at;
      switch (step.kind) {
        case STEP.struct:
          this.writeObject(step.plan!, at);
          break;
        case STEP.u16:
          view.setUint16(target, notes[this.noted++]!, true);
          break;
        case STEP.u32:
          view.setUint32(target, notes[this.noted++]!, true);
          break;
        case STEP.u64:
        case STEP.f64:
          view.setUint32(target, notes[this.noted++]!, true);
          view.setUint32(target + 4, notes[this.noted++]!, true);
          break;
        default:
          view.setInt32(target, notes[this.noted++]! - (target + this.shift), true);
          view.setUint32(target + 4, notes[this.noted++]!, true);
      }
    }
  }

  private noteInteger(path: string, value: unknown, max: number): void {
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > max)
      throw new Refusal(path, `must be an integer from 0 to ${max}`);
    this.note(value);
  }

  private noteU64(path: string, value: unknown): void {
    if (typeof value === 'number' && value >= 0 && Number.isSafeInteger(value)) {
      this.note(value);
      this.note(Math.floor(value / 0x1_0000_0000));
    } else if (typeof value === 'bigint' && value >= 0n && value <= 0xffff_ffff_ffff_ffffn) {
      this.note(Number(value & 0xffff_ffffn));
      this.note(Number(value >> 32n));
    } else throw new Refusal(path, 'must be an integer from 0 to 2^64 - 1, a bigint past 2^53 - 1');
  }

  private noteF64(path: string, value: unknown): void {
    if (typeof value !== 'number') throw new Refusal(path, 'must be a number');
    float[0] = value;
    this.note(floatBits[0]!);
    this.note(floatBits[1]!);
  }
}

function selectPlan(message: Message<unknown>, value: unknown): Plan {
  if (typeof value !== 'object' || value === null) throw new Refusal('', 'must be an object');
  if (message.tag === null) return message.plans[0]!;
  const { property, names } = message.tag;
  const index = names.indexOf((value as Record<string, string>)[property]!);
  if (index < 0) throw new Refusal(property, `must be one of ${names.join(', ')}`);
  return message.plans[index]!;
}

/** One encoder waits; a getter of the caller's value that starts another encoding finds none and makes its own. */
let idle: Encoder | null = new Encoder();

/**
 * Encodes `value` as rkyv would, into `scratch`: the head at `start`, the tail behind it, the body left where it is.
 * Throws an InvalidArgumentError with the field's path for a value that cannot cross.
 */
export function encodeRequest<T>(message: Message<T>, value: T, scratch: Scratch): void {
  const encoder = idle ?? new Encoder();
  idle = null;
  try {
    encoder.encode(message, value, scratch);
  } catch (error) {
    throw error instanceof Refusal ? new InvalidArgumentError(error.path || message.name, error.expectation) : error;
  } finally {
    encoder.release();
    idle = encoder;
  }
}

/** Encodes `value` into one array, body included. Throws as `encodeRequest` does. */
export function encodeToBytes<T>(message: Message<T>, value: T): Uint8Array {
  const scratch = new HeapScratch();
  encodeRequest(message, value, scratch);
  const { bytes, headLength, tailLength, body } = scratch;
  if (body === null) return bytes.slice(0, headLength);
  const whole = new Uint8Array(headLength + body.length + tailLength);
  whole.set(bytes.subarray(0, headLength));
  whole.set(body, headLength);
  whole.set(bytes.subarray(headLength, headLength + tailLength), headLength + body.length);
  return whole;
}
