/** Observers: they are told, and cannot fail a request. */
import { ObservabilityError } from '../errors.ts';
import type { WasmtimeRuntime } from '../runtime.ts';
import type { SlotKey } from '../slot-key.ts';
import type { PluginSlot } from '../slots.ts';
import type { ObserveEvent } from '../types.ts';
import type { ObserveEventValue } from '../wire/messages/observe.ts';
import {
  Adapter,
  type AsyncCallOptions,
  type CallOptions,
  callAnywhere,
  callInline,
  checkObject,
  followed,
  isAbort,
  type PreparedCall,
  type TellFault,
  targetOf,
} from './adapter.ts';
import { encodeMessage } from './call.ts';
import { principalKindValue, upstreamUrl } from './values.ts';

const tell: TellFault = (fault, context) => new ObservabilityError(`observe plugin failed: ${fault.message}`, context);

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
      callInline(this.runtime, 'observe', () => this.#prepare(event, options), tell);
      return undefined;
    } catch (error) {
      return returned(error);
    }
  }

  /** The same as a promise, on the thread that `options.where` says; rejects with `signal.reason` when aborted. */
  async observeAsync(event: ObserveEvent, options?: AsyncCallOptions): Promise<ObservabilityError | undefined> {
    try {
      await callAnywhere(this.runtime, 'observe', () => this.#prepare(event, options), tell, options);
      return undefined;
    } catch (error) {
      if (isAbort(error, options?.signal)) throw error;
      return returned(error);
    }
  }

  #prepare(event: ObserveEvent, options: CallOptions | undefined): PreparedCall<void> {
    checkObject(event, 'event');
    const cell = this.cell();
    const edition = cell.editions.observe!;
    return {
      target: targetOf(cell, 'observe', options, undefined),
      encode: encodeMessage(edition.request, eventValue(event, edition.oauthPrincipalKind)),
      read: () => {},
      bytes: 0,
    };
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

function returned(error: unknown): ObservabilityError {
  if (error instanceof ObservabilityError) return error;
  throw error;
}
