/** Reports one request to observers. */
import type { ObserveEvent, PluginChain } from 'cc-lb-runtime-wasmtime';
import type { Batch } from './batch.ts';
import { codeOf } from './failure.ts';
import type { LogEntry } from './record.ts';

/** The chunks of an answer that arrived since the last report. They are reported as one event. */
interface ChunkBatch {
  readonly type: 'chunk';
  readonly batchIndex: number;
  eventCount: number;
  totalBytes: number;
}

/**
 * The events of one request. Observers run on this thread for a slice of CPU time, then on another one. The next event
 * waits for the observers of the previous one; chunks that arrive meanwhile are one event.
 */
export class Observation {
  readonly #chain: PluginChain;
  readonly #events: Batch;
  readonly #log: (level: LogEntry['level'], message: string, error: unknown) => void;
  readonly #waiting: ObserveEvent[] = [];
  #isReporting = false;
  #batches = 0;
  /** The batch that is not reported yet. */
  #batch: ChunkBatch | undefined;

  /** `events` runs the observers of `chain`; `log` receives their failures. */
  constructor(
    chain: PluginChain,
    events: Batch,
    log: (level: LogEntry['level'], message: string, error: unknown) => void,
  ) {
    this.#chain = chain;
    this.#events = events;
    this.#log = log;
  }

  /** Reports an event. */
  add(event: ObserveEvent): void {
    this.#waiting.push(event);
    if (this.#waiting.length === 1 && !this.#isReporting) this.#events.add(() => void this.#report());
  }

  /** Reports a chunk of the answer, in which `eventCount` events end. */
  addChunk(chunk: Buffer, eventCount: number): void {
    if (this.#batch === undefined) {
      this.#batch = { type: 'chunk', batchIndex: this.#batches++, eventCount: 0, totalBytes: 0 };
      this.add(this.#batch);
    }
    this.#batch.eventCount += eventCount;
    this.#batch.totalBytes += chunk.length;
  }

  /** Reports a failure of the plugins or the upstream. */
  addError(source: 'plugin' | 'upstream', error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    this.add({ type: 'error', code: codeOf(error) || 'unknown', message, source });
  }

  /** Reports the waiting events. */
  async #report(): Promise<void> {
    this.#isReporting = true;
    for (let event = this.#waiting.shift(); event !== undefined; event = this.#waiting.shift()) {
      if (event === this.#batch) this.#batch = undefined;
      try {
        for (const error of await this.#chain.observeAsync(event)) this.#log('warn', 'an observer failed', error);
      } catch (error) {
        this.#log('error', 'an event could not be observed', error);
      }
    }
    this.#isReporting = false;
  }
}
