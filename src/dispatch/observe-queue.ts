/**
 * Queued events for observers, delivered outside the request path: one FIFO queue (line) per slot, each bounded in
 * events. The bytes of all lines are bounded together and shared by the owners of the slots. A line delivers one batch
 * at a time, so that an observer that never returns fills only its own line and holds only one permit.
 */
import { PluginUnavailableError } from '../errors.ts';
import { FairShares } from '../fair-shares.ts';
import type { VersionGuard } from '../isolation/guard.ts';
import type { SlotStats } from '../isolation/slot-stats.ts';
import { HOOK_KINDS } from '../types.ts';
import type { Dispatcher } from './dispatcher.ts';
import { encodedCopy } from './encode.ts';
import type { HookCall } from './hook-call.ts';
import { enqueue } from './queue.ts';

/**
 * Bounds of a batch: its events, its bytes, and roughly the time that it holds a permit. Later events form the next
 * batch.
 */
const BATCH_EVENTS = 64;
const BATCH_BYTES = 256 * 1024;
const BATCH_MS = 20;

/** The call of an event. It always has a guard, because probes are not queued. */
export interface EventCall extends HookCall<void> {
  readonly guard: VersionGuard;
}

interface QueuedEvent {
  readonly call: EventCall;
  /** The encoded event. */
  readonly bytes: Uint8Array;
}

/** The waiting events of one slot. */
interface Line {
  readonly stats: SlotStats;
  events: QueuedEvent[];
}

/** The queued events of one runtime. */
export class ObserveQueue {
  readonly #dispatcher: Dispatcher;
  readonly #lines = new Map<SlotStats, Line>();
  /** The bytes of the waiting events, by the owners of their slots. */
  readonly #bytes: FairShares;

  constructor(dispatcher: Dispatcher) {
    this.#dispatcher = dispatcher;
    this.#bytes = new FairShares(dispatcher.config.maxQueuedEventBytes);
  }

  /**
   * Queues an event. Returns false if the line of its slot or the share of its owner is full; the event is then dropped
   * and counted. Throws what encoding throws, and ClosedError.
   */
  push(call: EventCall): boolean {
    this.#dispatcher.checkOpen();
    const { stats } = call.guard;
    const { maxQueuedEvents } = this.#dispatcher.config;
    const isFull = () => (this.#lines.get(stats)?.events.length ?? 0) >= maxQueuedEvents;
    const bytes = isFull() ? null : encodedCopy(call);
    // Encoding runs the caller's getters, which may queue events too.
    if (bytes === null || isFull() || !this.#bytes.take(ownerOf(call), bytes.length)) {
      stats.droppedEvents++;
      return false;
    }
    const existing = this.#lines.get(stats);
    if (existing !== undefined) {
      existing.events.push({ call, bytes });
      return true;
    }
    const line: Line = { stats, events: [{ call, bytes }] };
    this.#lines.set(stats, line);
    const { inFlight } = this.#dispatcher;
    inFlight.begin();
    // The batch starts in a microtask, so that further events of the same synchronous code share it.
    queueMicrotask(() => {
      this.#serve(line).finally(() => {
        this.#lines.delete(stats);
        inFlight.end();
      });
    });
    return true;
  }

  /** Delivers batches until the line is empty. */
  async #serve(line: Line): Promise<void> {
    while (line.events.length > 0) {
      const batch = batchOf(line.events);
      const handled = await this.#run(batch).catch(() => batch.length);
      for (const { call, bytes } of line.events.splice(0, handled)) this.#bytes.release(ownerOf(call), bytes.length);
    }
  }

  /** Runs a batch. Returns how many of its events are finished. */
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
      // The guard counted one rejected call; the other events of the batch are rejected with it.
      if (error instanceof PluginUnavailableError) guard.stats.unavailable += batch.length - 1;
      else guard.stats.droppedEvents += batch.length;
      return batch.length;
    }
  }
}

/** The slot's owner, who is responsible for a slow observer. */
function ownerOf({ guard }: EventCall): string {
  return guard.key.principal;
}

/** Returns the leading events of the same version with the same deadline, within the bounds of a batch. */
function batchOf(events: readonly QueuedEvent[]): QueuedEvent[] {
  const [first] = events;
  const batch: QueuedEvent[] = [];
  let bytes = 0;
  for (const event of events) {
    const { guard, deadlineMs } = event.call;
    if (guard !== first?.call.guard || deadlineMs !== first.call.deadlineMs) break;
    bytes += event.bytes.length;
    if (batch.length === BATCH_EVENTS || (batch.length > 0 && bytes > BATCH_BYTES)) break;
    batch.push(event);
  }
  return batch;
}
