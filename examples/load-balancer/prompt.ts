/** Reads the fields of a `/v1/messages` body that filters receive, without parsing the prompt. */
import { createHash, type Hash } from 'node:crypto';
import { endOfValue, fieldsOf, type Span, skipSpace } from './json-scan.ts';

/** The maximum number of messages between the end of a cached prefix and the end of the prompt. */
const LOOK_BACK = 20;
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
    this.#fields = fieldsOf(body) ?? NO_FIELDS;
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

/** Returns the spans of a list's elements; empty for other values. */
function spansOf(body: Buffer, list: Span | undefined): Span[] {
  const spans: Span[] = [];
  if (list === undefined || body[list[0]] !== LIST) return spans;
  let at = list[0];
  for (;;) {
    const start = skipSpace(body, at + 1);
    if (body[start] === LIST_END) return spans;
    const end = endOfValue(body, start);
    if (end < 0 || end > list[1]) return spans;
    spans.push([start, end]);
    at = skipSpace(body, end);
    if (body[at] !== COMMA) return spans;
  }
}

function textOf(body: Buffer, span: Span | undefined): string | null {
  if (span === undefined || body[span[0]] !== QUOTE) return null;
  try {
    return JSON.parse(body.toString('utf8', span[0], span[1]));
  } catch {
    return null;
  }
}

/** Returns digests of the keys of an upstream's prompt cache: model, tools and system, then each message. */
function prefixDigests(body: Buffer, fields: ReadonlyMap<string, Span>): string[] {
  const messages = spansOf(body, fields.get('messages'));
  if (messages.length === 0) return [];
  const hash = createHash('sha256');
  for (const name of ['model', 'tools', 'system']) add(hash, body, fields.get(name));
  const digests: string[] = [];
  for (let i = 0; i < messages.length; i++) {
    add(hash, body, messages[i]);
    if (i < messages.length - 1 && i >= messages.length - LOOK_BACK) digests.push(hash.copy().digest('base64url'));
  }
  digests.push(hash.digest('base64url'));
  return digests.reverse();
}

/** The separator cannot occur in JSON, so that no two sequences of values are the same bytes. */
function add(hash: Hash, body: Buffer, span: Span | undefined): void {
  if (span !== undefined) hash.update(body.subarray(span[0], span[1]));
  hash.update('\0');
}
