import type { SseEvent } from '../types.ts';
import { LineEnds, MAX_LINES } from './line-ends.ts';

const LF = 0x0a;
const CR = 0x0d;
const COLON = 0x3a;
const SPACE = 0x20;
const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);
const DATA = Buffer.from('data: ');
const END_OF_LINE = Buffer.from('\n');

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
 * or fields without data. The event's type is `''` if the block has none.
 */
export function parseBlock(block: Buffer, isFirst: boolean): ParsedEvent | null {
  const data: Buffer[] = [];
  let event = '';
  let id = '';
  let retry = '';
  const lines = new Lines(block, isFirst && block.subarray(0, 3).equals(BYTE_ORDER_MARK) ? 3 : 0);
  while (lines.next()) {
    const { start, end } = lines;
    let from = startOfValue('data', block, start, end);
    if (from >= 0) {
      if (data.length > 0) data.push(END_OF_LINE);
      data.push(block.subarray(from, end));
      continue;
    }
    from = startOfValue('event', block, start, end);
    if (from >= 0) event = block.toString('utf8', from, end);
    from = startOfValue('id', block, start, end);
    if (from >= 0 && !block.subarray(from, end).includes(0)) id = `id: ${block.toString('utf8', from, end)}\n`;
    from = startOfValue('retry', block, start, end);
    if (from >= 0) {
      const digits = block.toString('latin1', from, end);
      if (/^[0-9]+$/.test(digits)) retry = `retry: ${digits}\n`;
    }
  }
  if (data.length === 0) return null;
  return { event, data: data.length === 1 ? data[0]! : Buffer.concat(data), streamFields: id + retry };
}

/**
 * Serializes events for a stream; returns null if their data has more than `MAX_LINES` lines. Each line becomes a field;
 * `streamFields` are written with the last event, so that a client that received its id has received all events. An
 * event's type must not contain a line break.
 */
export function serializeEvents(events: readonly SseEvent[], streamFields: string): Buffer | null {
  const parts = events.map(({ event, data }, index) => {
    const type = event === '' ? '' : `event: ${event}\n`;
    const head = index === events.length - 1 ? type + streamFields : type;
    return { head, bytes: Buffer.from(data.buffer, data.byteOffset, data.byteLength) };
  });
  let size = 0;
  let count = 0;
  for (const { head, bytes } of parts) {
    size += Buffer.byteLength(head) + 1;
    const lines = new Lines(bytes, 0);
    while (lines.next()) {
      if (++count > MAX_LINES) return null;
      size += DATA.length + lines.end - lines.start + 1;
    }
  }
  const out = Buffer.allocUnsafe(size);
  let at = 0;
  for (const { head, bytes } of parts) {
    at += out.write(head, at);
    const lines = new Lines(bytes, 0);
    while (lines.next()) {
      at += DATA.copy(out, at);
      at += bytes.copy(out, at, lines.start, lines.end);
      out[at++] = LF;
    }
    out[at++] = LF;
  }
  return out;
}

/** Whether the text is a valid event type: a line break would start another field. */
export function isEventType(text: string): boolean {
  return !/[\r\n]/.test(text);
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
