/** Observers: they are told, and cannot fail a request. */
import { ANY_ANSWER, encodeMessage } from '../dispatch/call.ts';
import type { CallScratch } from '../dispatch/scratch.ts';
import { ObservabilityError } from '../errors.ts';
import type { WasmtimeRuntime } from '../runtime.ts';
import type { SlotKey } from '../slot-key.ts';
import type { Cell, PluginSlot } from '../slots.ts';
import type { ObserveEvent } from '../types.ts';
import { checkObject } from '../validate.ts';
import type { ObserveEventValue } from '../wire/messages/observe.ts';
import {
  Adapter,
  AdapterCall,
  type AsyncCallOptions,
  type CallOptions,
  followed,
  isAbort,
  type WrapError,
} from './adapter.ts';
import { principalKindValue, upstreamUrl } from './values.ts';

const toObservabilityError: WrapError = (fault, context) =>
  new ObservabilityError(`observe plugin failed: ${fault.message}`, context);

/** An observe plugin of a slot. */
export class WasmtimeObservabilityHook extends Adapter {
  /**
   * Pinned to the version that `slot` has now. Throws ModuleRejected for a slot of another kind, SlotNotFound for an
   * evicted one, InvalidArgument for anything else, and Closed.
   */
  constructor(runtime: WasmtimeRuntime, slot: PluginSlot) {
    super('observe', runtime, slot);
  }

  /**
   * One that takes the slot's version of the moment at each call; an absent slot is a failure of that call.
   * Throws InvalidArgument for anything but a key, and Closed.
   */
  static follow(runtime: WasmtimeRuntime, key: SlotKey): WasmtimeObservabilityHook {
    return new WasmtimeObservabilityHook(runtime, followed(key));
  }

  /**
   * Tells the plugin of an event, on this thread, for at most the deadline. A failure of the plugin is returned.
   * Throws InvalidArgument for an event that is none, and Closed.
   */
  observe(event: ObserveEvent, options?: CallOptions): ObservabilityError | undefined {
    try {
      this.inline(this.#call(event, options));
      return undefined;
    } catch (error) {
      return returned(error);
    }
  }

  /** The same as a promise, on the thread that `options.where` says; rejects with `signal.reason` when aborted. */
  async observeAsync(event: ObserveEvent, options?: AsyncCallOptions): Promise<ObservabilityError | undefined> {
    try {
      await this.anywhere(this.#call(event, options), options);
      return undefined;
    } catch (error) {
      if (isAbort(error, options?.signal)) throw error;
      return returned(error);
    }
  }

  #call(event: ObserveEvent, options: CallOptions | undefined): ObserveCall {
    checkObject(event, 'event');
    const version = this.versionFor('observe', toObservabilityError);
    const value = eventValue(event, version.editions.observe!.oauthPrincipalKind);
    return new ObserveCall(version, value, options);
  }
}

/** An event as this edition has it. */
function eventValue(event: ObserveEvent, oauthPrincipalKind: string): ObserveEventValue {
  switch (event.type) {
    case 'upstream_chosen':
      return { type: event.type, upstream: { baseUrl: upstreamUrl(event.upstream)?.href ?? null } };
    case 'authn_complete': {
      const { type, principalId, principalKind } = event;
      return {
        type,
        principalId,
        principalKind: principalKindValue(principalKind, oauthPrincipalKind, 'principalKind'),
      };
    }
    default:
      return event;
  }
}

class ObserveCall extends AdapterCall<void> {
  readonly wrapError = toObservabilityError;
  private readonly event: ObserveEventValue;

  constructor(version: Cell, event: ObserveEventValue, options: CallOptions | undefined) {
    super('observe', version, options, { principal: undefined, maxAnswerBytes: ANY_ANSWER, bodyBytes: 0 });
    this.event = event;
  }

  encode(scratch: CallScratch): void {
    encodeMessage(this.version.editions.observe!.request, this.event, scratch);
  }

  decode(): void {}
}

function returned(error: unknown): ObservabilityError {
  if (error instanceof ObservabilityError) return error;
  throw error;
}
