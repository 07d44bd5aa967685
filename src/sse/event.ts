import type { SseEvent } from '../types.ts';

const LF = 0x0a;
const CR = 0x0d;
const COLON = 0x3a;
const SPACE = 0x20;
const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);
const DATA = Buffer.from('data: ');
const END_OF_LINE = Buffer.from('\n');

/** An event with the fields that a plugin does not see. */
export interface ParsedEvent extends SseEvent {
  /** The fields `id` and `retry` as lines. They apply to the stream even if the event is dropped. */
  readonly streamFields: string;
}

/**
 * Parses a block of the stream by the rules of the HTML standard. Returns null for a block without an event: comments,
 * or fields without data. The event's type is `''` if the block has none.
 */
export function parseBlock(block: Buffer, isFirst: boolean): ParsedEvent | null {
  const from = isFirst && block.subarray(0, 3).equals(BYTE_ORDER_MARK) ? 3 : 0;
  const data: Buffer[] = [];
  let event = '';
  let id = '';
  let retry = '';
  for (const line of lines(block, from)) {
    let value = fieldValue('data', line);
    if (value !== null) {
      data.push(value);
      continue;
    }
    value = fieldValue('event', line);
    if (value !== null) event = value.toString();
    value = fieldValue('id', line);
    if (value !== null && !value.includes(0)) id = `id: ${value.toString()}\n`;
    value = fieldValue('retry', line);
    if (value !== null && /^[0-9]+$/.test(value.toString('latin1'))) retry = `retry: ${value.toString('latin1')}\n`;
  }
  if (data.length === 0) return null;
  return { event, data: data.length === 1 ? data[0]! : joined(data), streamFields: id + retry };
}

/**
 * Serializes events for a stream. Each line of the data becomes a field; `streamFields` are written with the last
 * event, so that a client that received its id has received all events. An event's type must not contain a line break.
 */
export function serializeEvents(events: readonly SseEvent[], streamFields: string): Buffer {
  const parts: Buffer[] = [];
  events.forEach(({ event, data }, index) => {
    let head = event === '' ? '' : `event: ${event}\n`;
    if (index === events.length - 1) head += streamFields;
    if (head !== '') parts.push(Buffer.from(head));
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    for (const line of lines(bytes, 0)) parts.push(DATA, line, END_OF_LINE);
    parts.push(END_OF_LINE);
  });
  return Buffer.concat(parts);
}

/** Whether the text is a valid event type: a line break would start another field. */
export function isEventType(text: string): boolean {
  return !/[\r\n]/.test(text);
}

/** The lines without their ends, including the one after the last line end. */
function* lines(bytes: Buffer, from: number): Generator<Buffer> {
  let lf = -1;
  let cr = -1;
  for (let at = from; ; ) {
    if (lf < at) lf = found(bytes.indexOf(LF, at), bytes);
    if (cr < at) cr = found(bytes.indexOf(CR, at), bytes);
    const end = Math.min(lf, cr);
    yield bytes.subarray(at, end);
    if (end === bytes.length) return;
    at = bytes[end] === CR && bytes[end + 1] === LF ? end + 2 : end + 1;
  }
}

function found(index: number, bytes: Buffer): number {
  return index === -1 ? bytes.length : index;
}

/** Returns the value of the line if it is of the field, without the optional space after the colon; else null. */
function fieldValue(field: string, line: Buffer): Buffer | null {
  const { length } = field;
  for (let i = 0; i < length; i++) if (line[i] !== field.charCodeAt(i)) return null;
  if (line.length === length) return line.subarray(length);
  if (line[length] !== COLON) return null;
  return line.subarray(line[length + 1] === SPACE ? length + 2 : length + 1);
}

function joined(data: readonly Buffer[]): Buffer {
  return Buffer.concat(data.flatMap((line, index) => (index === 0 ? [line] : [END_OF_LINE, line])));
}
