/**
 * Memo of the encoded bytes of lists that recur with every request, such as upstream candidates. In the archive, the
 * texts of a list's elements are one after the other and the elements follow, with relative pointers to the texts:
 *
 *     [texts][padding][elements]
 *
 * No pointer leaves this block, so it can be copied to any position of the same alignment; the numbers are then
 * overwritten. A block is used only for a list with identical texts, so a caller may change its objects at any time.
 */
import { Memo } from '../memo.ts';
import { STEP, type Step } from './rkyv.ts';

/** Maximum bytes of the blocks of one type of list. The rest of an entry is of the same order. */
const MAX_BYTES = 4 * 1024 * 1024;
/** Longer blocks are not memoized. */
const MAX_BLOCK_BYTES = 16 * 1024;
/** Maximum number of memoized lists with the same first text. */
const MAX_ALTERNATIVES = 4;

/** The field values of each element of a non-empty list. */
export type Rows = readonly (readonly unknown[])[];

/** A memoized list. */
export interface KnownList {
  readonly length: number;
  /** The text fields of all elements. */
  readonly texts: readonly unknown[];
  /** The block, by its position modulo the elements' alignment. */
  readonly blocks: (Uint8Array | undefined)[];
}

/** Memo of lists of one type, whose elements consist of texts and numbers of whole words. */
export class ListMemo {
  /** The number fields: their indexes in a row and their steps. */
  readonly numbers: readonly { readonly field: number; readonly step: Step }[];
  readonly #texts: readonly number[];
  readonly #lists = new Memo<unknown, KnownList[]>(MAX_BYTES);

  constructor(steps: readonly Step[]) {
    const fields = steps.map((step, field) => ({ field, step }));
    this.numbers = fields.filter(({ step }) => step.kind > STEP.json);
    this.#texts = fields.filter(({ step }) => step.kind <= STEP.json).map(({ field }) => field);
  }

  /** Returns the memoized list with the texts of `rows`; undefined without one. */
  find(rows: Rows): KnownList | undefined {
    const alternatives = this.#lists.get(rows[0]![0]);
    if (alternatives === undefined) return undefined;
    for (let i = 0; i < alternatives.length; i++) {
      const known = alternatives[i]!;
      if (known.length === rows.length && this.#hasTexts(known.texts, rows)) return known;
    }
    return undefined;
  }

  /** Stores the block of `rows` for positions that are `alignment` modulo the elements' alignment. */
  learn(rows: Rows, alignment: number, bytes: Uint8Array): void {
    if (bytes.length > MAX_BLOCK_BYTES) return;
    const block = new Uint8Array(bytes);
    const key = rows[0]![0];
    const known = this.find(rows);
    const alternatives = this.#lists.get(key) ?? [];
    if (known === undefined) {
      const blocks: (Uint8Array | undefined)[] = [];
      blocks[alignment] = block;
      alternatives.unshift({ length: rows.length, texts: this.#textsOf(rows), blocks });
      alternatives.length = Math.min(alternatives.length, MAX_ALTERNATIVES);
    } else known.blocks[alignment] = block;
    this.#lists.set(key, alternatives, bytesOf(alternatives));
  }

  #hasTexts(known: readonly unknown[], rows: Rows): boolean {
    const texts = this.#texts;
    let next = 0;
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i]!;
      for (let k = 0; k < texts.length; k++) if (row[texts[k]!] !== known[next++]) return false;
    }
    return true;
  }

  #textsOf(rows: Rows): unknown[] {
    return rows.flatMap((row) => this.#texts.map((field) => row[field]));
  }
}

function bytesOf(lists: readonly KnownList[]): number {
  let bytes = 0;
  for (const { blocks } of lists) for (const block of blocks) bytes += block?.length ?? 0;
  return bytes;
}
