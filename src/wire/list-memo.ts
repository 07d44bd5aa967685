/**
 * Bytes of lists that come again with every request, as those of upstream candidates do. In the archive, the texts of a
 * list's elements are one after the other and the elements follow, with relative pointers to the texts:
 *
 *     [texts][padding][elements]
 *
 * Nothing in this block points out of it, so it can be copied to any position of the same alignment; the numbers are
 * written over it. A block is used only for a list that has the very same texts, so a caller may change its objects at
 * any time.
 */
import { Memo } from '../memo.ts';
import { STEP, type Step } from './rkyv.ts';

/** Bytes that the blocks of one type of list may take, twice: what else an entry holds is of the same order. */
const MAX_BYTES = 4 * 1024 * 1024;
/** A longer block does not pay for the memory it would hold. */
const MAX_BLOCK_BYTES = 16 * 1024;
/** Lists that begin with the same text and are remembered side by side. */
const MAX_ALTERNATIVES = 4;

/** The fields of each element of a list that is not empty. */
export type Rows = readonly (readonly unknown[])[];

/** A list whose texts are known. */
export interface KnownList {
  readonly length: number;
  /** The text fields of all elements as they were given. */
  readonly texts: readonly unknown[];
  /** The block, by its position modulo the elements' alignment. */
  readonly blocks: (Uint8Array | undefined)[];
}

/** Remembers lists of one type, whose elements are nothing but texts and numbers of whole words. */
export class ListMemo {
  /** Fields that are numbers: their places in a row and their steps. */
  readonly numbers: readonly { readonly field: number; readonly step: Step }[];
  readonly #texts: readonly number[];
  readonly #lists = new Memo<unknown, KnownList[]>(MAX_BYTES);

  constructor(steps: readonly Step[]) {
    const fields = steps.map((step, field) => ({ field, step }));
    this.numbers = fields.filter(({ step }) => step.kind > STEP.json);
    this.#texts = fields.filter(({ step }) => step.kind <= STEP.json).map(({ field }) => field);
  }

  /** The known list that has the texts of `rows`, if there is one. */
  find(rows: Rows): KnownList | undefined {
    const alternatives = this.#lists.get(rows[0]![0]);
    if (alternatives === undefined) return undefined;
    for (let i = 0; i < alternatives.length; i++) {
      const known = alternatives[i]!;
      if (known.length === rows.length && this.#hasTexts(known.texts, rows)) return known;
    }
    return undefined;
  }

  /** Remembers the block of `rows` at a position that is `alignment` modulo the elements' alignment. */
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
    this.#lists.set(key, alternatives, block.length);
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
