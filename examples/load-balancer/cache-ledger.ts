/**
 * Predicts the tokens that each upstream has cached, from the usage that it reports. Filters receive the predictions.
 */
import type { Prompt } from './prompt.ts';

/** A prompt that an upstream has cached. Plain data, so that workers can share it. */
export interface CachedPrompt {
  readonly upstreamId: string;
  /** The digest of the whole prompt. */
  readonly digest: string;
  readonly tokens: number;
  /** When the cache probably drops it, in `Date.now()` milliseconds. */
  readonly until: number;
}

type Entry = Pick<CachedPrompt, 'tokens' | 'until'>;

/** Records the prompts that each upstream answered, for the lifetime of the upstreams' caches. */
export class CacheLedger {
  /** Entries by the digest of a prompt, then by upstream. */
  readonly #entries = new Map<string, Map<string, Entry>>();
  readonly #keepMs: number;
  readonly #maxEntries: number;
  readonly #onCached: ((cached: CachedPrompt) => void) | undefined;

  constructor(
    options: { keepMs?: number; maxEntries?: number; onCached?: ((cached: CachedPrompt) => void) | undefined } = {},
  ) {
    this.#keepMs = options.keepMs ?? 5 * 60_000;
    this.#maxEntries = options.maxEntries ?? 50_000;
    this.#onCached = options.onCached;
  }

  /** The number of known prompts. */
  get size(): number {
    return this.#entries.size;
  }

  /** Returns the predicted number of cached tokens of the prompt at the upstream. */
  predict(upstreamId: string, prompt: Prompt): number {
    if (this.#entries.size === 0) return 0;
    for (const prefix of prompt.prefixes) {
      const entry = this.#entries.get(prefix)?.get(upstreamId);
      if (entry !== undefined && entry.until > Date.now()) return entry.tokens;
    }
    return 0;
  }

  /** Records that the upstream answered this prompt and reported `tokens` cached tokens, read and written in total. */
  record(upstreamId: string, prompt: Prompt, tokens: number): void {
    if (tokens === 0) return;
    const [whole] = prompt.prefixes;
    if (whole === undefined) return;
    const cached = { upstreamId, digest: whole, tokens, until: Date.now() + this.#keepMs };
    this.add(cached);
    this.#onCached?.(cached);
  }

  /** Adds a prompt that this or another worker recorded. */
  add({ upstreamId, digest, tokens, until }: CachedPrompt): void {
    const byUpstream = this.#entries.get(digest) ?? new Map<string, Entry>();
    byUpstream.set(upstreamId, { tokens, until });
    // Deleted first, so that the map is in order of last use.
    this.#entries.delete(digest);
    this.#entries.set(digest, byUpstream);
    if (this.#entries.size > this.#maxEntries) this.#entries.delete(this.#entries.keys().next().value!);
  }
}
