/** The second pass of the encoder: writes objects from the notes of the first pass, which `encode.ts` describes. */
import { type Plan, STEP, type Words } from './rkyv.ts';
import { Writer } from './writer.ts';

/** The number of notes of a slice before those of its elements. */
export const NOTES_OF_SLICE = 4;

/** Writes objects over bytes that are zero. */
export class ObjectWriter extends Writer {
  /** Writes the object at `at` from the notes that start at `next`. Returns the end of its notes. */
  protected writeObject(plan: Plan, at: number, first: number, shift: number): number {
    const { view, notes } = this;
    const { steps } = plan;
    let next = first;
    if (plan.tagAt >= 0) view.setUint8(at + plan.tagAt, plan.tag);
    for (let i = 0; i < steps.length; i++) {
      const step = steps[i]!;
      if (step.tagAt >= 0) {
        if (notes[next++] === 0) continue;
        view.setUint8(at + step.tagAt, 1);
      }
      const target = at + step.at;
      switch (step.kind) {
        case STEP.struct:
          next = this.writeObject(step.plan!, at, next, shift);
          break;
        case STEP.u16:
          view.setUint16(target, notes[next++]!, true);
          break;
        case STEP.u32:
          view.setUint32(target, notes[next++]!, true);
          break;
        case STEP.u64:
        case STEP.f64:
          view.setUint32(target, notes[next++]!, true);
          view.setUint32(target + 4, notes[next++]!, true);
          break;
        case STEP.slice:
        case STEP.pairs:
          view.setInt32(target, notes[next + 1]! + notes[next + 2]! - (target + shift), true);
          view.setUint32(target + 4, notes[next + 3]!, true);
          this.writeElements(step.plan!, next);
          next = notes[next]!;
          break;
        default:
          view.setInt32(target, notes[next++]! - (target + shift), true);
          view.setUint32(target + 4, notes[next++]!, true);
      }
    }
    return next;
  }

  /** Writes the elements of the slice whose notes start at `start`. */
  private writeElements(plan: Plan, start: number): void {
    const at = this.notes[start + 1]!;
    const shift = this.notes[start + 2]!;
    const length = this.notes[start + 3]!;
    let next = start + NOTES_OF_SLICE;
    if (next === this.notes[start]) return;
    if (plan.isStrings) this.writeStrings(at, length * plan.steps.length, next, shift);
    else if (plan.words !== null) this.writeWords(plan.words, plan.size, at, length, next, shift);
    else for (let i = 0; i < length; i++) next = this.writeObject(plan, at + i * plan.size, next, shift);
  }

  /** `writeObject` for elements that are nothing but strings, as header lines are: a pointer and a length for each. */
  private writeStrings(start: number, count: number, first: number, shift: number): void {
    const { view, notes } = this;
    for (let i = 0; i < count; i++) {
      const target = start + 8 * i;
      view.setInt32(target, notes[first + 2 * i]! - (target + shift), true);
      view.setInt32(target + 4, notes[first + 2 * i + 1]!, true);
    }
  }

  /**
   * `writeObject` for the elements of a slice whose notes are all words. Branch-free, because mispredictions cost more.
   */
  private writeWords(words: Words, size: number, start: number, length: number, first: number, shift: number): void {
    const { view, notes } = this;
    const { at: offsets, pointers } = words;
    let next = first;
    for (let i = 0; i < length; i++) {
      const at = start + i * size;
      for (let k = 0; k < offsets.length; k++) {
        const target = at + offsets[k]!;
        view.setInt32(target, notes[next++]! - ((target + shift) & pointers[k]!), true);
      }
    }
  }
}
