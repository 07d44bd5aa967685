/** The interface of a scenario: its bounds and random numbers, and the figures that it reports. */
import { Random } from '../wire/fuzz/random.ts';

/** One line of the summary. `ok` is null for a figure that has no target. */
export interface Figure {
  readonly name: string;
  readonly value: string;
  readonly ok: boolean | null;
}

/** One kind of load or attack on the runtime. It runs in a process of its own, whose exit is part of the verdict. */
export interface Scenario {
  /** The unit of a run. */
  readonly unit: string;
  /** The number of units of a complete run. */
  readonly target: number;
  /** Throws a Violation when the runtime breaks a guarantee. */
  run(run: Run): Promise<Figure[]>;
}

/** One run of a scenario: its bounds, its random numbers, and the units done so far. */
export class Run {
  readonly random: Random;
  readonly seed: number;
  readonly target: number;
  readonly #ends: number;
  readonly #report: (done: number) => void;
  done = 0;

  constructor(seed: number, target: number, seconds: number, report: (done: number) => void) {
    this.seed = seed;
    this.random = new Random(seed);
    this.target = target;
    this.#ends = performance.now() + seconds * 1_000;
    this.#report = report;
  }

  /** Whether both units and time are left. */
  get hasMore(): boolean {
    return this.done < this.target && performance.now() < this.#ends;
  }

  /** Whether the run reached its target count. */
  get isComplete(): boolean {
    return this.done >= this.target;
  }

  /** Adds to the units done. */
  count(units: number): void {
    this.done += units;
    this.#report(this.done);
  }
}

/** The runtime broke a guarantee. */
export class Violation extends Error {}

/** Throws a Violation with the message of `describe` unless the condition holds. */
export function ensure(condition: boolean, describe: () => string): void {
  if (!condition) throw new Violation(describe());
}

/** A whole number with separators between groups of digits. */
export const grouped = (value: number): string => Math.round(value).toLocaleString('en');
