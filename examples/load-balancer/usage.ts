/** Reads the token counts of an answer while it is forwarded: from a JSON body, or from the events of a stream. */

import { Chunks } from './chunks.ts';
import type { Holding } from './fair-shares.ts';
import { fieldsOf } from './json-scan.ts';

/** Token counts of an answer; null if it reported none. */
export interface Usage {
  readonly inputTokens: number | null;
  readonly outputTokens: number | null;
  readonly cacheCreationInputTokens: number | null;
  readonly cacheReadInputTokens: number | null;
}

/** Reads the usage of an answer chunk by chunk. */
export interface UsageReader {
  /** Reads the next bytes; returns the number of events of a stream that end in them. */
  feed(chunk: Buffer): number;
  /** The usage so far. */
  usage(): Usage;
}

/** The usage of an answer that reports none. */
export const NO_USAGE: Usage = {
  inputTokens: null,
  outputTokens: null,
  cacheCreationInputTokens: null,
  cacheReadInputTokens: null,
};

/** The memory of a request, of which kept text is a part. */
type Memory = Pick<Holding, 'take' | 'release'>;

const FIELDS = {
  inputTokens: 'input_tokens',
  outputTokens: 'output_tokens',
  cacheCreationInputTokens: 'cache_creation_input_tokens',
  cacheReadInputTokens: 'cache_read_input_tokens',
} as const;
/** Larger bodies and lines are not parsed. */
const MAX_TEXT_BYTES = 4 * 1024 * 1024;
const USAGE = ['usage'];
const NEWLINE = 0x0a;
const RETURN = 0x0d;

/**
 * Returns the reader for an answer of this content type. What it keeps to parse it later is counted in `memory`; without
 * memory there is no usage.
 */
export function usageReader(contentType: string | undefined, memory: Memory): UsageReader {
  if (isEventStream(contentType)) return new StreamUsage(memory);
  return contentType?.toLowerCase().startsWith('application/json') ? new JsonUsage(memory) : new NoUsage();
}

/** Whether a content type is that of server-sent events. */
export function isEventStream(contentType: string | undefined): boolean {
  return /^text\/event-stream\s*(;|$)/i.test(contentType ?? '');
}

class Counts {
  readonly #found: { -readonly [Field in keyof Usage]: Usage[Field] } = { ...NO_USAGE };

  /** Records the counts of a message or an event; later counts replace earlier ones. */
  read(text: string): void {
    let parsed: { usage?: unknown; message?: { usage?: unknown } } | null;
    try {
      parsed = JSON.parse(text);
    } catch {
      return;
    }
    const counts = (parsed?.usage ?? parsed?.message?.usage ?? {}) as Record<string, unknown>;
    for (const ours in FIELDS) {
      const count = counts[FIELDS[ours as keyof Usage]];
      if (Number.isSafeInteger(count) && (count as number) >= 0) this.#found[ours as keyof Usage] = count as number;
    }
  }

  usage(): Usage {
    return { ...this.#found };
  }
}

class NoUsage extends Counts implements UsageReader {
  feed(): number {
    return 0;
  }
}

/** Text of which more may follow. It is empty once it exceeds the maximum or the memory of its request. */
class Text {
  readonly #memory: Memory;
  readonly #chunks = new Chunks();
  #size = 0;
  #isDropped = false;

  constructor(memory: Memory) {
    this.#memory = memory;
  }

  /** The number of bytes, including dropped ones. */
  get size(): number {
    return this.#size;
  }

  add(part: Buffer): void {
    this.#size += part.length;
    if (this.#isDropped) return;
    if (this.#size <= MAX_TEXT_BYTES && this.#memory.take(part.length)) {
      this.#chunks.add(part);
      return;
    }
    this.#isDropped = true;
    this.#memory.release(this.#chunks.size);
    this.#chunks.clear();
  }

  /** Returns the text and begins another one. */
  take(): Buffer {
    this.#memory.release(this.#chunks.size);
    this.#size = 0;
    this.#isDropped = false;
    return this.#chunks.take();
  }
}

class JsonUsage extends Counts implements UsageReader {
  readonly #text: Text;

  constructor(memory: Memory) {
    super();
    this.#text = new Text(memory);
  }

  feed(chunk: Buffer): number {
    this.#text.add(chunk);
    return 0;
  }

  /** Parses the usage alone: the rest of an answer may be long. */
  override usage(): Usage {
    if (this.#text.size === 0) return super.usage();
    const body = this.#text.take();
    const span = body.includes('"usage"') ? fieldsOf(body, USAGE)?.get('usage') : undefined;
    if (span !== undefined) this.read(`{"usage":${body.toString('utf8', ...span)}}`);
    return super.usage();
  }
}

class StreamUsage extends Counts implements UsageReader {
  /** The beginning of a line whose end is in a later chunk. */
  readonly #begun: Text;
  #hasData = false;

  constructor(memory: Memory) {
    super();
    this.#begun = new Text(memory);
  }

  feed(chunk: Buffer): number {
    let events = 0;
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      if (this.#endLine(chunk.subarray(start, end))) events++;
      start = end + 1;
    }
    if (start < chunk.length) this.#begun.add(chunk.subarray(start));
    return events;
  }

  /** Ends a line with its last part. Returns whether the line was the empty one after an event. */
  #endLine(last: Buffer): boolean {
    let text = last;
    let { length } = last;
    if (this.#begun.size > 0) {
      this.#begun.add(last);
      length = this.#begun.size;
      text = this.#begun.take();
    }
    const line = text.at(-1) === RETURN ? text.subarray(0, -1) : text;
    if (length - (text.length - line.length) === 0) {
      const ended = this.#hasData;
      this.#hasData = false;
      return ended;
    }
    if (line.subarray(0, 5).toString('latin1') === 'data:') {
      this.#hasData = true;
      if (line.includes('"usage"')) this.read(line.subarray(5).toString());
    }
    return false;
  }
}
