import type { SseEvent } from '../types.ts';
import { LineEnds, MAX_LINES } from './line-ends.ts';

const LF = 0x0a;
const CR = 0x0d;
const COLON = 0x3a;
const SPACE = 0x20;
const NUL = 0x00;
const ZERO = 0x30;
const NINE = 0x39;
/** Up to this length, a loop copies bytes faster than a call of a built-in function. */
const SHORT = 64;
/** Longest event type in UTF-16 code units. */
export const MAX_TYPE_UNITS = 1_024;
/** Event types are decoded up to this size, which exceeds `MAX_TYPE_UNITS` for all characters. */
export const MAX_DECODED_TYPE_BYTES = 4_096;
const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);
const DATA = Buffer.from('data: ');

/** An event with the fields that a plugin does not see. */
export interface ParsedEvent extends SseEvent {
  /**
   * The fields `id` and `retry` as lines, written with the replacement of the event. A dropped event drops them: many
   * clients read a block of these fields alone as an event, and a client that reconnects asks for the event again.
   */
  readonly streamFields: string;
}

/**
 * Parses a block of the stream by the rules of the HTML standard. Returns null for a block without an event: comments,
 * or fields without data. The event's type is `''` if the block has none; see `isLongEventType`.
 */
export function parseBlock(block: Buffer, isFirst: boolean): ParsedEvent | null {
  // Positions: only the last of a field's values is decoded, and a block may have 100,000 lines.
  const data: number[] = [];
  let typeStart = 0;
  let typeEnd = 0;
  let idStart = -1;
  let idEnd = 0;
  let retryStart = -1;
  let retryEnd = 0;
  const lines = new Lines(block, isFirst && block.subarray(0, 3).equals(BYTE_ORDER_MARK) ? 3 : 0);
  while (lines.next()) {
    const { start, end } = lines;
    let from = startOfValue('data', block, start, end);
    if (from >= 0) {
      data.push(from, end);
      continue;
    }
    from = startOfValue('event', block, start, end);
    if (from >= 0) {
      typeStart = from;
      typeEnd = end;
      continue;
    }
    from = startOfValue('id', block, start, end);
    if (from >= 0 && isId(block, from, end)) {
      idStart = from;
      idEnd = end;
      continue;
    }
    from = startOfValue('retry', block, start, end);
    if (from >= 0 && isNumber(block, from, end)) {
      retryStart = from;
      retryEnd = end;
    }
  }
  if (data.length === 0) return null;
  const event = block.toString('utf8', typeStart, Math.min(typeEnd, typeStart + MAX_DECODED_TYPE_BYTES));
  const id = idStart < 0 ? '' : `id: ${block.toString('utf8', idStart, idEnd)}\n`;
  const retry = retryStart < 0 ? '' : `retry: ${block.toString('latin1', retryStart, retryEnd)}\n`;
  return { event, data: joinLines(block, data), streamFields: id + retry };
}

/** Joins the ranges of the lines with line feeds. A single line is a view. */
function joinLines(block: Buffer, ranges: readonly number[]): Buffer {
  if (ranges.length === 2) return block.subarray(ranges[0], ranges[1]);
  let size = ranges.length / 2 - 1;
  for (let i = 0; i < ranges.length; i += 2) size += ranges[i + 1]! - ranges[i]!;
  const out = Buffer.allocUnsafe(size);
  let at = 0;
  for (let i = 0; i < ranges.length; i += 2) {
    if (i > 0) out[at++] = LF;
    at = copyBytes(block, ranges[i]!, ranges[i + 1]!, out, at);
  }
  return out;
}

/**
 * Serializes events for a stream; returns null if their data has more than `MAX_LINES` lines. Each line becomes a field;
 * `streamFields` are written with the last event, so that a client that received its id has received all events. An
 * event's type must not contain a line break.
 */
export function serializeEvents(events: readonly SseEvent[], streamFields: string): Buffer | null {
  let size = 0;
  let count = 0;
  const parts = events.map(({ event, data }, index) => {
    const type = event === '' ? '' : `event: ${event}\n`;
    const head = index === events.length - 1 ? type + streamFields : type;
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    const ranges: number[] = [];
    size += Buffer.byteLength(head) + 1;
    const lines = new Lines(bytes, 0);
    while (count <= MAX_LINES && lines.next()) {
      count++;
      ranges.push(lines.start, lines.end);
      size += DATA.length + lines.end - lines.start + 1;
    }
    return { head, bytes, ranges };
  });
  if (count > MAX_LINES) return null;
  const out = Buffer.allocUnsafe(size);
  let at = 0;
  for (const { head, bytes, ranges } of parts) {
    if (head !== '') at += out.write(head, at);
    for (let i = 0; i < ranges.length; i += 2) {
      at = copyBytes(DATA, 0, DATA.length, out, at);
      at = copyBytes(bytes, ranges[i]!, ranges[i + 1]!, out, at);
      out[at++] = LF;
    }
    out[at++] = LF;
  }
  return out;
}

/** Whether the text is too long for an event type, which may be truncated, but not to a length that is allowed. */
export function isLongEventType(text: string): boolean {
  return text.length > MAX_TYPE_UNITS;
}

/** The lines of a text without their ends, including the one after the last line end. */
class Lines {
  start = 0;
  end = 0;
  readonly #bytes: Buffer;
  readonly #ends: LineEnds;
  #next: number;

  constructor(bytes: Buffer, from: number) {
    this.#bytes = bytes;
    this.#ends = new LineEnds(bytes);
    this.#next = from;
  }

  /** Sets `start` and `end` to those of the next line; returns false if there is none. */
  next(): boolean {
    const bytes = this.#bytes;
    if (this.#next > bytes.length) return false;
    this.start = this.#next;
    this.end = this.#ends.next(this.start);
    this.#next = this.end + (bytes[this.end] === CR && bytes[this.end + 1] === LF ? 2 : 1);
    return true;
  }
}

/** Returns the start of the line's value, after the optional space, if the line is of the field; else -1. */
function startOfValue(field: string, bytes: Buffer, start: number, end: number): number {
  for (let i = 0; i < field.length; i++) if (bytes[start + i] !== field.charCodeAt(i)) return -1;
  const colon = start + field.length;
  if (colon === end) return end;
  if (bytes[colon] !== COLON) return -1;
  return bytes[colon + 1] === SPACE ? colon + 2 : colon + 1;
}

function isId(bytes: Buffer, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if (bytes[i] === NUL) return false;
  return true;
}

function isNumber(bytes: Buffer, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if (bytes[i]! < ZERO || bytes[i]! > NINE) return false;
  return end > start;
}

/** Copies `from[start, end)` to `to` and returns the end of the copy. */
function copyBytes(from: Buffer, start: number, end: number, to: Buffer, at: number): number {
  if (end - start > SHORT) return at + from.copy(to, at, start, end);
  let next = at;
  for (let i = start; i < end; i++) to[next++] = from[i]!;
  return next;
}
