/**
 * Decodes bytes to values and accepts exactly what `rkyv::access` with bytecheck accepts. One pass checks and builds.
 * The underlying rule: every object is in the space between the end of its previous sibling and its owner, aligned for
 * its type, even when it is empty; tags are known; text is UTF-8; padding and the payload of an absent option are
 * ignored.
 */
import { Buffer, constants, isAscii, isUtf8 } from 'node:buffer';
import { type Message, type Plan, STEP, type Step } from './rkyv.ts';
import { TextTable } from './text-table.ts';

/** The bytes are not a valid message. The error message names the field and the problem. */
export class WireError extends Error {
  override readonly name = 'WireError';
}

/** A failed check; converted to a WireError when its complete path is known. */
class Fault {
  readonly path: string;
  readonly problem: string;
  constructor(path: string, problem: string) {
    this.path = path;
    this.problem = problem;
  }
  within(owner: string): Fault {
    return new Fault(this.path === '' ? owner : `${owner}.${this.path}`, this.problem);
  }
}

/** Up to this length, a loop over the bytes is faster than a call of a built-in function. */
const SHORT = 64;
/** Up to this length, the text before a slice is decoded as one string, of which the elements' texts are substrings. */
const MAX_WINDOW = 16_384;
/** Maximum number of elements of all lists of a message, because an element of a few bytes becomes an object. */
const MAX_ELEMENTS = 100_000;
/** A limit of texts that cuts none. */
const NO_TEXT_LIMIT = 0x7fff_ffff;
const NO_BYTES = Buffer.alloc(0);
const NO_VIEW = new DataView(NO_BYTES.buffer);

/** Memory of the caller for the copy of a message's only byte field. */
export interface BytesMemory {
  /** Bytes that are returned instead of a copy if they are equal. */
  readonly repeated: Uint8Array | null;
  /** The copy is written here if it fits. */
  readonly into: Uint8Array | null;
}

const NEW_MEMORY: BytesMemory = { repeated: null, into: null };

/** An encoded message: `bytes[start, end)`. */
export interface EncodedBytes {
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
  /** Whether the memory is leased, so that the decoded value must not refer to it. */
  readonly leased: boolean;
}

/** How far a message is decoded. */
export interface DecodeLimits {
  /** The number of elements of all lists; more are an error. */
  readonly maxElements: number;
  /** A longer text or latin1 value, of more than 16 KiB, is checked completely and truncated between two characters. */
  readonly maxTextBytes: number;
}

const NO_LIMITS: DecodeLimits = { maxElements: MAX_ELEMENTS, maxTextBytes: NO_TEXT_LIMIT };

class Decoder {
  private readonly texts = new TextTable();
  /** Kept for leased memory, which the next message is likely to use. */
  private bytes: Buffer = NO_BYTES;
  /** A view of `bytes`. */
  private view: DataView = NO_VIEW;
  /** The start of the message in `bytes`, to which its positions and alignment are relative. */
  private base = 0;
  private leased = false;
  private memory: BytesMemory = NEW_MEMORY;
  /** The space that the next object may occupy. */
  private low = 0;
  private high = 0;
  /** `bytes[windowStart, windowEnd)` as a string; null until a text of it is read. */
  private window: string | null = null;
  private windowStart = 0;
  private windowEnd = 0;
  /** The number of elements that the message may have, and may still have. */
  private maxElements = 0;
  private elements = 0;
  private maxTextBytes = NO_TEXT_LIMIT;

  decode(
    message: Message<unknown>,
    { bytes, start, end, leased }: EncodedBytes,
    { maxElements, maxTextBytes }: DecodeLimits,
    memory: BytesMemory,
  ): unknown {
    if (bytes !== this.bytes) {
      this.bytes = bytes;
      this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    }
    this.base = start;
    this.leased = leased;
    this.memory = memory;
    this.closeWindow();
    this.low = start;
    this.high = end;
    this.maxElements = Math.min(maxElements, MAX_ELEMENTS);
    this.elements = this.maxElements;
    this.maxTextBytes = maxTextBytes;
    const root = Math.max(start, end - message.size);
    this.enter('', root, message.size, message.align);
    let plan = message.plans[0]!;
    if (message.plans.length > 1) {
      const tag = bytes[root]!;
      if (tag >= message.plans.length) throw new Fault('', unknownTag(tag));
      plan = message.plans[tag]!;
    }
    return this.readObject(plan, root);
  }

  release(): void {
    if (!this.leased) {
      this.bytes = NO_BYTES;
      this.view = NO_VIEW;
    }
    this.memory = NEW_MEMORY;
    this.closeWindow();
  }

  /** Checks that an object may be at `at`, and limits the targets of its pointers to the space before it. */
  private enter(path: string, at: number, size: number, align: number): void {
    if (at < this.low || at + size > this.high) throw this.outside(path, at, size);
    const position = at - this.base;
    if ((position & (align - 1)) !== 0) throw new Fault(path, `position ${position} is not aligned to ${align}`);
    this.high = at;
  }

  private outside(path: string, at: number, size: number): Fault {
    const { base, low, high } = this;
    return new Fault(path, `${size} bytes at ${at - base} are outside ${low - base}..${high - base}`);
  }

  private readObject(plan: Plan, at: number): unknown {
    const { steps } = plan;
    if (plan.tagAt >= 0) {
      const tag = this.bytes[at + plan.tagAt]!;
      if (tag !== plan.tag) throw new Fault('', unknownTag(tag));
    }
    const fields = new Array<unknown>(steps.length);
    for (let i = 0; i < steps.length; i++) fields[i] = this.readField(steps[i]!, at);
    return plan.make(fields);
  }

  private readField(step: Step, owner: number): unknown {
    if (step.tagAt >= 0) {
      const tag = this.bytes[owner + step.tagAt]!;
      if (tag === 0) return null;
      if (tag !== 1) throw new Fault(step.path, unknownTag(tag));
    }
    const at = owner + step.at;
    switch (step.kind) {
      case STEP.struct:
        return this.readObject(step.plan!, owner);
      case STEP.u16:
        return this.view.getUint16(at, true);
      case STEP.u32:
        return this.view.getUint32(at, true);
      case STEP.u64:
        return this.readU64(at);
      case STEP.f64:
        return this.view.getFloat64(at, true);
      case STEP.slice:
        return this.readSlice(step, at);
      case STEP.pairs:
        return this.readPairs(step, at);
      default:
        return this.readBox(step, at);
    }
  }

  private readU64(at: number): number | bigint {
    const low = this.view.getUint32(at, true);
    const high = this.view.getUint32(at + 4, true);
    return high < 0x20_0000 ? high * 0x1_0000_0000 + low : (BigInt(high) << 32n) | BigInt(low);
  }

  private readBox(step: Step, at: number): unknown {
    const start = at + this.view.getInt32(at, true);
    const length = this.view.getUint32(at + 4, true);
    const end = start + length;
    if (start < this.low || end > this.high) throw this.outside(step.path, start, length);
    this.low = end;
    switch (step.kind) {
      case STEP.text:
        return this.readText(step, start, end);
      case STEP.latin1:
        return this.readLatin1(step, start, end);
      default:
        return this.readBytes(start, length);
    }
  }

  private readBytes(start: number, length: number): Uint8Array {
    const view = new Uint8Array(this.bytes.buffer, this.bytes.byteOffset + start, length);
    // A small view would keep the memory of a large answer.
    if (!this.leased) return 2 * length < this.bytes.buffer.byteLength ? new Uint8Array(view) : view;
    // A comparison costs less than a copy, and a copy in new memory would be garbage outside the JavaScript heap.
    const { repeated, into } = this.memory;
    if (repeated !== null && Buffer.compare(view, repeated) === 0) return repeated;
    if (into === null || into.length < length) return new Uint8Array(view);
    into.set(view);
    return into.subarray(0, length);
  }

  private readText(step: Step, start: number, end: number): string {
    if (step.recurs) return this.readRecurringText(step, start, end);
    return this.readFromWindow(start, end) ?? this.readOwnText(step, start, end);
  }

  private readRecurringText(step: Step, start: number, end: number): string {
    const known = this.texts.find(this.view, start, end - start);
    if (known !== undefined) return known;
    // Not a substring of the window, which would keep the window in memory, and which V8 compares slowly.
    const read = this.readOwnText(step, start, end);
    this.texts.add(this.view, start, end - start, read);
    return read;
  }

  private readOwnText(step: Step, start: number, end: number): string {
    const { bytes } = this;
    if (end - start <= SHORT) {
      let all = 0;
      for (let i = start; i < end; i++) all |= bytes[i]!;
      if (all < 0x80) return bytes.toString('latin1', start, end);
    }
    if (!isUtf8(bytes.subarray(start, end))) throw new Fault(step.path, 'invalid UTF-8');
    const cut = this.cutText(start, end);
    checkStringLength(step, cut - start);
    return bytes.toString('utf8', start, cut);
  }

  /** Returns the end of the longest prefix of a text that fits in `maxTextBytes` without splitting a character. */
  private cutText(start: number, end: number): number {
    if (end - start <= this.maxTextBytes) return end;
    let cut = start + this.maxTextBytes;
    while (cut > start && (this.bytes[cut]! & 0xc0) === 0x80) cut--;
    return cut;
  }

  private readLatin1(step: Step, start: number, end: number): string {
    const read = this.readFromWindow(start, end);
    if (read !== null) return read;
    const length = Math.min(end - start, this.maxTextBytes);
    checkStringLength(step, length);
    return this.bytes.toString('latin1', start, start + length);
  }

  /**
   * Most text is ASCII and contiguous before the slice that owns it: decoding it as one string is cheaper than as many.
   */
  private openWindow(start: number, end: number): void {
    if (end - start > MAX_WINDOW) return;
    this.windowStart = start;
    this.windowEnd = end;
  }

  /** Returns a text in the window; null if it is not there, or if the window is not ASCII. */
  private readFromWindow(start: number, end: number): string | null {
    const { bytes, windowStart, windowEnd } = this;
    if (start < windowStart || end > windowEnd) return null;
    if (this.window === null) {
      if (!isAscii(bytes.subarray(windowStart, windowEnd))) {
        this.closeWindow();
        return null;
      }
      this.window = bytes.toString('latin1', windowStart, windowEnd);
    }
    return this.window.substring(start - windowStart, end - windowStart);
  }

  private closeWindow(): void {
    this.window = null;
    this.windowStart = 0;
    this.windowEnd = -1;
  }

  private countElements(step: Step, length: number): void {
    this.elements -= length;
    if (this.elements < 0) throw new Fault(step.path, `the message has more than ${this.maxElements} elements`);
  }

  private readSlice(step: Step, at: number): unknown[] {
    const plan = step.plan!;
    const start = at + this.view.getInt32(at, true);
    const length = this.view.getUint32(at + 4, true);
    const { high } = this;
    this.enter(step.path, start, length * plan.size, plan.align);
    this.countElements(step, length);
    this.openWindow(this.low, start);
    const list: unknown[] = [];
    const { steps, size } = plan;
    // One list is reused for all elements: `make` copies its values.
    const fields = new Array<unknown>(steps.length);
    try {
      for (let i = 0; i < length; i++) {
        for (let k = 0; k < steps.length; k++) fields[k] = this.readField(steps[k]!, start + i * size);
        list.push(plan.make(fields));
      }
    } catch (error) {
      throw error instanceof Fault ? error.within(`${step.path}[${list.length}]`) : error;
    }
    this.low = start + length * plan.size;
    this.high = high;
    this.closeWindow();
    return list;
  }

  private readPairs(step: Step, at: number): unknown[] {
    const plan = step.plan!;
    const first = plan.steps[0]!;
    const second = plan.steps[1]!;
    const start = at + this.view.getInt32(at, true);
    const length = this.view.getUint32(at + 4, true);
    const { high } = this;
    this.enter(step.path, start, length * plan.size, plan.align);
    this.countElements(step, length);
    this.openWindow(this.low, start);
    const list: unknown[] = [];
    try {
      for (let i = 0; i < length; i++) {
        const owner = start + i * plan.size;
        list.push(this.readField(first, owner));
        list.push(this.readField(second, owner));
      }
    } catch (error) {
      throw error instanceof Fault ? error.within(`${step.path}[${list.length >> 1}]`) : error;
    }
    this.low = start + length * plan.size;
    this.high = high;
    this.closeWindow();
    return list;
  }
}

const unknownTag = (tag: number): string => `unknown tag ${tag}`;

function checkStringLength(step: Step, length: number): void {
  if (length > constants.MAX_STRING_LENGTH) throw new Fault(step.path, 'longer than a JavaScript string can be');
}

const decoder = new Decoder();

/**
 * Checks an encoded message as `rkyv::access` does and returns the value. A byte field is a view of the bytes if it is at
 * least half of their memory, else a copy. If the bytes are leased, it is a copy in `memory`. Throws a WireError with the
 * field and the problem.
 */
export function decodeAnswer<T>(
  message: Message<T>,
  encoded: EncodedBytes,
  limits: DecodeLimits = NO_LIMITS,
  memory: BytesMemory = NEW_MEMORY,
): T {
  try {
    return decoder.decode(message, encoded, limits, memory) as T;
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    throw new WireError(`${message.name}${error.path === '' ? '' : `.${error.path}`}: ${error.problem}`);
  } finally {
    decoder.release();
  }
}
