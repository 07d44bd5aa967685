/**
 * Events for observers, off the path of the requests that they are about: a line per slot, in order, each bounded in events
 * and all together in bytes. A line hands over one batch at a time, so that an observer that never returns fills its own line
 * and holds one permit.
 */
import { PluginUnavailableError } from '../errors.ts';
import type { VersionGuard } from '../isolation/guard.ts';
import type { SlotStats } from '../isolation/slot-stats.ts';
import { HOOK_KINDS } from '../types.ts';
import type { Dispatcher, HookCall } from './call.ts';
import { enqueue } from './queue.ts';
import { encodedCopy } from './scratch.ts';

/** A batch ends after as many events or bytes, and takes its permit for about so long; what is left follows in the next. */
const BATCH_EVENTS = 64;
const BATCH_BYTES = 256 * 1024;
const BATCH_MS = 20;

/** The call of an event: of a slot's version, never a probe. */
export interface EventCall extends HookCall<void> {
  readonly guard: VersionGuard;
}

interface QueuedEvent {
  readonly call: EventCall;
  /** The encoded event. */
  readonly bytes: Uint8Array;
}

/** The events of one slot that wait. */
interface Line {
  readonly stats: SlotStats;
  events: QueuedEvent[];
}

/** The queued events of one runtime. */
export class ObserveQueue {
  readonly #dispatcher: Dispatcher;
  readonly #lines = new Map<SlotStats, Line>();
  #bytes = 0;

  constructor(dispatcher: Dispatcher) {
    this.#dispatcher = dispatcher;
  }

  /**
   * Queues an event; false if the line of its slot or the whole queue is full, and the event is dropped and counted. Throws
   * what encoding throws, and Closed.
   */
  push(call: EventCall): boolean {
    this.#dispatcher.checkOpen();
    const { stats } = call.guard;
    const { maxQueuedEvents, maxQueuedEventBytes } = this.#dispatcher.config;
    const existing = this.#lines.get(stats);
    const bytes = (existing?.events.length ?? 0) < maxQueuedEvents ? encodedCopy(call) : null;
    if (bytes === null || this.#bytes + bytes.length > maxQueuedEventBytes) {
      stats.droppedEvents++;
      return false;
    }
    this.#bytes += bytes.length;
    if (existing !== undefined) {
      existing.events.push({ call, bytes });
      return true;
    }
    const line: Line = { stats, events: [{ call, bytes }] };
    this.#lines.set(stats, line);
    const done = this.#dispatcher.begin();
    // Later in this turn of the event loop more events follow, which share the batch.
    queueMicrotask(() => {
      this.#serve(line).finally(() => {
        this.#lines.delete(stats);
        done();
      });
    });
    return true;
  }

  /** Hands over batch after batch until the line is empty. */
  async #serve(line: Line): Promise<void> {
    while (line.events.length > 0) {
      const batch = batchOf(line.events);
      const handled = await this.#run(batch).catch(() => batch.length);
      for (const { bytes } of line.events.splice(0, handled)) this.#bytes -= bytes.length;
    }
  }

  /** Runs a batch; how many of its events are done with. */
  async #run(batch: readonly QueuedEvent[]): Promise<number> {
    const { call } = batch[0]!;
    const { guard, principal, module, deadlineMs } = call;
    const hook = HOOK_KINDS.indexOf(call.hook);
    const lengths = batch.map(({ bytes }) => bytes.length);
    let began = 0;
    const work = () => {
      began = guard.enter(principal, call);
      return module.callBatch(hook, Buffer.concat(batch.map(({ bytes }) => bytes)), lengths, deadlineMs, BATCH_MS);
    };
    try {
      const outcomes = await enqueue(work, Number.POSITIVE_INFINITY, principal).done;
      for (const { failure, seconds } of outcomes) this.#dispatcher.ended(call, began, failure, seconds);
      return Math.max(1, outcomes.length);
    } catch (error) {
      // One refused call was counted by the guard; the others of the batch are refused with it.
      if (error instanceof PluginUnavailableError) guard.stats.unavailable += batch.length - 1;
      else guard.stats.droppedEvents += batch.length;
      return batch.length;
    }
  }
}

/** The first events that go to the same version under the same deadline. */
function batchOf(events: readonly QueuedEvent[]): QueuedEvent[] {
  const [first] = events;
  const batch: QueuedEvent[] = [];
  let bytes = 0;
  for (const event of events) {
    const { module, deadlineMs } = event.call;
    if (module !== first?.call.module || deadlineMs !== first.call.deadlineMs) break;
    bytes += event.bytes.length;
    if (batch.length === BATCH_EVENTS || (batch.length > 0 && bytes > BATCH_BYTES)) break;
    batch.push(event);
  }
  return batch;
}
