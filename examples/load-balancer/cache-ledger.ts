/**
 * Predicts the tokens that each upstream has cached, from the usage that it reports. Filters receive the predictions.
 */
import type { Prompt } from './prompt.ts';

/** What one answer taught. Plain data, so that workers can share it. */
export interface Lesson {
  readonly upstreamId: string;
  /** The digest of the whole prompt. */
  readonly digest: string;
  readonly tokens: number;
  /** `Date.now()` milliseconds. */
  readonly until: number;
}

interface Entry {
  readonly tokens: number;
  /** `Date.now()` milliseconds. */
  readonly until: number;
}

/** Records the prompts that each upstream answered, for the lifetime of the upstreams' caches. */
export class CacheLedger {
  /** Entries by the digest of a prompt, then by upstream. */
  readonly #entries = new Map<string, Map<string, Entry>>();
  readonly #keepMs: number;
  readonly #maxEntries: number;
  readonly #onLesson: ((lesson: Lesson) => void) | undefined;

  constructor(
    options: { keepMs?: number; maxEntries?: number; onLesson?: ((lesson: Lesson) => void) | undefined } = {},
  ) {
    this.#keepMs = options.keepMs ?? 5 * 60_000;
    this.#maxEntries = options.maxEntries ?? 50_000;
    this.#onLesson = options.onLesson;
  }

  /** The number of prompts that are known. */
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
  learn(upstreamId: string, prompt: Prompt, tokens: number): void {
    if (tokens === 0) return;
    const [whole] = prompt.prefixes;
    if (whole === undefined) return;
    const lesson = { upstreamId, digest: whole, tokens, until: Date.now() + this.#keepMs };
    this.take(lesson);
    this.#onLesson?.(lesson);
  }

  /** Records what another worker has learned. */
  take({ upstreamId, digest, tokens, until }: Lesson): void {
    const byUpstream = this.#entries.get(digest) ?? new Map<string, Entry>();
    byUpstream.set(upstreamId, { tokens, until });
    // Deleted first, so that the map is in order of last use.
    this.#entries.delete(digest);
    this.#entries.set(digest, byUpstream);
    if (this.#entries.size > this.#maxEntries) this.#entries.delete(this.#entries.keys().next().value!);
  }
}
