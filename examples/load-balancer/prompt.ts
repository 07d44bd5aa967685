/** Reads the fields of a `/v1/messages` body that filters receive, without parsing the prompt. */
import { createHash } from 'node:crypto';
import { endOfValue, fieldsOf, type Span, skipSpace } from './json-scan.ts';

/** The maximum number of messages between the end of a cached prefix and the end of the prompt. */
const LOOK_BACK = 20;
const FIELDS = ['model', 'service_tier', 'tools', 'system', 'messages'];
/** The API accepts no more. Reading the millions that a body may have would block the event loop for a second. */
const MAX_MESSAGES = 100_000;
/** A longer text is neither a model nor a tier, and each plugin call would encode it. */
const MAX_TEXT_BYTES = 1_024;
const NO_FIELDS: ReadonlyMap<string, Span> = new Map();
const QUOTE = 0x22;
const COMMA = 0x2c;
const LIST = 0x5b;
const LIST_END = 0x5d;

/** The fields of a body. A body that is not a JSON object has no model and no prefixes. */
export class Prompt {
  readonly model: string;
  readonly serviceTier: string | null;
  #body: Buffer | undefined;
  readonly #fields: ReadonlyMap<string, Span>;
  #prefixes: readonly string[] = [];

  constructor(body: Buffer) {
    this.#body = body;
    this.#fields = fieldsOf(body, FIELDS) ?? NO_FIELDS;
    this.model = textOf(body, this.#fields.get('model')) ?? '';
    this.serviceTier = textOf(body, this.#fields.get('service_tier'));
  }

  /** The digest of each prefix that ends with a message, the complete prompt first; computed on the first use. */
  get prefixes(): readonly string[] {
    if (this.#body !== undefined) {
      this.#prefixes = prefixDigests(this.#body, this.#fields);
      this.#body = undefined;
    }
    return this.#prefixes;
  }
}

/** The messages of a prompt. */
interface Messages {
  readonly start: number;
  /** The ends of the last `LOOK_BACK` messages, in order. */
  readonly ends: readonly number[];
}

/** Finds the messages in a list; null for other values, for an empty list, and for one that no upstream accepts. */
function messagesIn(body: Buffer, list: Span | undefined): Messages | null {
  if (list === undefined || body[list[0]] !== LIST) return null;
  const first = skipSpace(body, list[0] + 1);
  const ring: number[] = [];
  let count = 0;
  for (let start = first; body[start] !== LIST_END; ) {
    const end = endOfValue(body, start);
    if (end < 0 || end > list[1]) break;
    if (count === MAX_MESSAGES) return null;
    ring[count++ % LOOK_BACK] = end;
    const next = skipSpace(body, end);
    if (body[next] !== COMMA) break;
    start = skipSpace(body, next + 1);
  }
  if (count === 0) return null;
  const oldest = count > LOOK_BACK ? count % LOOK_BACK : 0;
  return { start: first, ends: [...ring.slice(oldest), ...ring.slice(0, oldest)] };
}

function textOf(body: Buffer, span: Span | undefined): string | null {
  if (span === undefined || body[span[0]] !== QUOTE || span[1] - span[0] > MAX_TEXT_BYTES) return null;
  try {
    return JSON.parse(body.toString('utf8', span[0], span[1]));
  } catch {
    return null;
  }
}

/** Returns digests of the keys of an upstream's prompt cache: model, tools and system, then the messages. */
function prefixDigests(body: Buffer, fields: ReadonlyMap<string, Span>): string[] {
  const messages = messagesIn(body, fields.get('messages'));
  if (messages === null) return [];
  const hash = createHash('sha256');
  for (const name of ['model', 'tools', 'system']) {
    const span = fields.get(name);
    if (span !== undefined) hash.update(body.subarray(span[0], span[1]));
    // The separator cannot occur in JSON, so that no two sequences of values are the same bytes.
    hash.update('\0');
  }
  const digests: string[] = [];
  let { start } = messages;
  for (const end of messages.ends) {
    hash.update(body.subarray(start, end));
    digests.push(hash.copy().digest('base64url'));
    start = end;
  }
  return digests.reverse();
}
