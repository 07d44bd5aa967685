/** Reads the token counts of an answer while it is forwarded: from a JSON body, or from the events of a stream. */

import { Chunks } from './chunks.ts';
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

/** Returns the reader for an answer of this content type. */
export function usageReader(contentType: string | undefined): UsageReader {
  if (isEventStream(contentType)) return new StreamUsage();
  return contentType?.toLowerCase().startsWith('application/json') ? new JsonUsage() : new NoUsage();
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

class JsonUsage extends Counts implements UsageReader {
  readonly #chunks = new Chunks();
  #size = 0;

  feed(chunk: Buffer): number {
    this.#size += chunk.length;
    if (this.#size <= MAX_TEXT_BYTES) this.#chunks.add(chunk);
    else this.#chunks.clear();
    return 0;
  }

  /** Parses the usage alone: the rest of an answer may be long. */
  override usage(): Usage {
    if (this.#chunks.size === 0) return super.usage();
    const body = this.#chunks.take();
    const span = body.includes('"usage"') ? fieldsOf(body, USAGE)?.get('usage') : undefined;
    if (span !== undefined) this.read(`{"usage":${body.toString('utf8', ...span)}}`);
    return super.usage();
  }
}

class StreamUsage extends Counts implements UsageReader {
  /** The bytes of an incomplete line. */
  readonly #begun = new Chunks();
  #begunSize = 0;
  #hasData = false;

  feed(chunk: Buffer): number {
    let events = 0;
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      this.#add(chunk.subarray(start, end));
      start = end + 1;
      if (this.#endLine()) events++;
    }
    this.#add(chunk.subarray(start));
    return events;
  }

  #add(part: Buffer): void {
    if (part.length === 0) return;
    this.#begunSize += part.length;
    if (this.#begunSize <= MAX_TEXT_BYTES) this.#begun.add(part);
    else this.#begun.clear();
  }

  /** Whether the line was the empty one after an event. */
  #endLine(): boolean {
    const bytes = this.#begun.take();
    const line = bytes.at(-1) === RETURN ? bytes.subarray(0, -1) : bytes;
    const isEmpty = this.#begunSize - (bytes.length - line.length) === 0;
    this.#begunSize = 0;
    if (isEmpty) {
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
