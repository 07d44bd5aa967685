/** Records how the calls of one runtime end: in its metrics, as events, and for the placement of later calls. */
import { publishSaturation, publishTrap } from '../diagnostics.ts';
import type { SaturatedResource } from '../errors.ts';
import type { Placement } from '../isolation/placement.ts';
import type { MetricsSink } from '../metrics/sink.ts';
import type { NativeFailure } from '../native/addon.ts';
import { HOOK_KINDS } from '../types.ts';
import type { HookCall } from './hook-call.ts';
import { wasEntered } from './outcome.ts';

/** The recorder of one runtime. */
export class CallRecorder {
  readonly #metrics: MetricsSink;
  readonly #inlineSliceMs: number;

  constructor(metrics: MetricsSink, { inlineSliceMs }: { readonly inlineSliceMs: number }) {
    this.#metrics = metrics;
    this.#inlineSliceMs = inlineSliceMs;
  }

  /** Records a finished call with its seconds in the guest, after everything that it leased was returned. */
  ended(call: HookCall<unknown>, failure: NativeFailure | null, seconds: number): void {
    // A call may be rejected after its guest ran, when its repetition off the thread does not fit.
    if (failure?.kind === 'saturated') this.saturated(failure.resource!, call);
    if (!wasEntered(seconds) || (call.isRepeated && failure?.trap === 'interrupt')) return;
    const plugin = call.guard === null ? call.plugin : call.guard.label(call.plugin);
    this.#metrics.call(plugin, call.hook, seconds);
    if (failure?.kind === 'trap') this.#trapped(call, plugin, failure.phase!, failure.trap);
    else if (failure?.kind === 'rejected') this.#trapped(call, plugin, 'reject', null);
  }

  /** Records a call or an admission that was rejected because a resource was exhausted. */
  saturated(resource: SaturatedResource, call?: Pick<HookCall<unknown>, 'context'>): void {
    this.#metrics.saturation(resource);
    publishSaturation(resource, call);
  }

  /** Records how long a call off the event loop took as a whole, for `isLong`. */
  took(call: HookCall<unknown>, milliseconds: number): void {
    this.#note(placementOf(call), call, milliseconds);
  }

  /** Records how long an asynchronous call took that blocked the event loop, for `isLong`. */
  blocked(call: HookCall<unknown>, milliseconds: number): void {
    const placement = placementOf(call);
    this.#note(placement, call, milliseconds);
    placement?.noteBlocked(milliseconds, this.#inlineSliceMs);
  }

  /** Records a call that exhausted its slice. */
  sliced(call: HookCall<unknown>): void {
    placementOf(call)?.noteDecisive(this.#inlineSliceMs);
  }

  /** Whether asynchronous calls of this hook run off the thread, because earlier ones took long. */
  isLong(call: HookCall<unknown>): boolean {
    return placementOf(call)?.offThread === true && this.#inlineSliceMs > 0;
  }

  #note(placement: Placement | undefined, call: HookCall<unknown>, milliseconds: number): void {
    const long = milliseconds >= this.#inlineSliceMs / 2;
    // Only its deadline interrupts an event of a stream.
    if (long && call.stream !== null) placement?.noteDecisive(milliseconds);
    else placement?.note(long);
  }

  #trapped(call: HookCall<unknown>, plugin: string, phase: string, trap: string | null): void {
    this.#metrics.trap(plugin, call.hook, phase);
    publishTrap(call, phase, trap);
  }
}

function placementOf({ guard, hook }: HookCall<unknown>): Placement | undefined {
  return guard?.stats.placements[HOOK_KINDS.indexOf(hook)];
}
