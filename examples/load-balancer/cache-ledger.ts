/** What each upstream has probably cached: learnt from the usage that it reports, told to filters as predictions. */
import { createHash } from 'node:crypto';

/** A conversation as far as its cache is concerned. */
export interface Prompt {
  /** A digest for each prefix that ends with a message; the longest, the whole prompt, first. */
  readonly prefixes: readonly string[];
}

/** How many of a prompt's last messages a cached prefix may lie back. */
const LOOK_BACK = 20;

/** The prompt of a parsed `/v1/messages` body; null where there is none. */
export function promptOf(body: unknown): Prompt | null {
  const { model, system, tools, messages } = (body ?? {}) as Record<string, unknown>;
  if (!Array.isArray(messages)) return null;
  let digest = sha256(JSON.stringify([model, tools, system]));
  const prefixes = messages.map((message) => {
    digest = sha256(digest + JSON.stringify(message));
    return digest;
  });
  return { prefixes: prefixes.slice(-LOOK_BACK).reverse() };
}

/** Remembers which upstream was sent which prompt, for as long as the upstreams keep their caches. */
export class CacheLedger {
  readonly #entries = new Map<string, { tokens: number; until: number }>();
  readonly #keepMs: number;
  readonly #maxEntries: number;

  constructor(options: { keepMs?: number; maxEntries?: number } = {}) {
    this.#keepMs = options.keepMs ?? 5 * 60_000;
    this.#maxEntries = options.maxEntries ?? 50_000;
  }

  /** Tokens of the prompt that the upstream has probably cached. */
  predict(upstreamId: string, prompt: Prompt | null): number {
    for (const prefix of prompt?.prefixes ?? []) {
      const entry = this.#entries.get(keyOf(upstreamId, prefix));
      if (entry !== undefined && entry.until > Date.now()) return entry.tokens;
    }
    return 0;
  }

  /** The upstream has answered this prompt and reported so many cached tokens, read and written together. */
  learn(upstreamId: string, prompt: Prompt | null, tokens: number): void {
    const whole = prompt?.prefixes[0];
    if (whole === undefined || tokens === 0) return;
    const key = keyOf(upstreamId, whole);
    // Deleted first, so that the map's order is that of last use.
    this.#entries.delete(key);
    this.#entries.set(key, { tokens, until: Date.now() + this.#keepMs });
    if (this.#entries.size > this.#maxEntries) this.#entries.delete(this.#entries.keys().next().value!);
  }
}

function keyOf(upstreamId: string, prefix: string): string {
  return `${upstreamId} ${prefix}`;
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('base64url');
}
