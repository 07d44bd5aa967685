/** What each upstream has probably cached: learned from the usage that it reports, given to filters as predictions. */
import type { Prompt } from './prompt.ts';

interface Entry {
  readonly tokens: number;
  /** `Date.now()` milliseconds. */
  readonly until: number;
}

/** Remembers which upstream was sent which prompt, for as long as the upstreams keep their caches. */
export class CacheLedger {
  /** By the digest of a prompt, then by upstream. */
  readonly #entries = new Map<string, Map<string, Entry>>();
  readonly #keepMs: number;
  readonly #maxEntries: number;

  constructor(options: { keepMs?: number; maxEntries?: number } = {}) {
    this.#keepMs = options.keepMs ?? 5 * 60_000;
    this.#maxEntries = options.maxEntries ?? 50_000;
  }

  /** Tokens of the prompt that the upstream has probably cached. */
  predict(upstreamId: string, prompt: Prompt): number {
    if (this.#entries.size === 0) return 0;
    for (const prefix of prompt.prefixes) {
      const entry = this.#entries.get(prefix)?.get(upstreamId);
      if (entry !== undefined && entry.until > Date.now()) return entry.tokens;
    }
    return 0;
  }

  /** The upstream has answered this prompt and reported so many cached tokens, read and written together. */
  learn(upstreamId: string, prompt: Prompt, tokens: number): void {
    if (tokens === 0) return;
    const [whole] = prompt.prefixes;
    if (whole === undefined) return;
    const byUpstream = this.#entries.get(whole) ?? new Map<string, Entry>();
    byUpstream.set(upstreamId, { tokens, until: Date.now() + this.#keepMs });
    // Deleted first, so that the map's order is that of last use.
    this.#entries.delete(whole);
    this.#entries.set(whole, byUpstream);
    if (this.#entries.size > this.#maxEntries) this.#entries.delete(this.#entries.keys().next().value!);
  }
}
