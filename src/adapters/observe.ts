/** Observe plugins: receive events, and cannot fail a request. */
import type { AsyncCallOptions, CallOptions } from '../call-options.ts';
import { isAbort } from '../dispatch/abort.ts';
import { encodeMessage } from '../dispatch/encode.ts';
import { ANY_ANSWER } from '../dispatch/hook-call.ts';
import type { CallScratch } from '../dispatch/scratch.ts';
import { ObservabilityError } from '../errors.ts';
import type { WasmtimeRuntime } from '../runtime.ts';
import type { SlotKey } from '../slot-key.ts';
import type { PluginSlot } from '../slots.ts';
import type { ObserveEvent } from '../types.ts';
import { checkObject } from '../validate.ts';
import type { Version } from '../versions.ts';
import type { ObserveEventValue } from '../wire/messages/observe.ts';
import type { SchemaByHook } from '../wire/schemas.ts';
import { Adapter, FollowedKey } from './adapter.ts';
import { AdapterCall } from './adapter-call.ts';
import type { WrapError } from './hook-error.ts';
import { principalKindValue, upstreamUrl } from './values.ts';

const toObservabilityError: WrapError = (fault, context) =>
  new ObservabilityError(`observe plugin failed: ${fault.message}`, context);

/** An observe plugin of a slot. */
export class WasmtimeObservabilityHook extends Adapter<'observe'> {
  /**
   * Creates an adapter that is pinned to the current version of `slot`. Throws ModuleRejected for a slot of another
   * kind, SlotNotFound for an evicted one, InvalidArgument for anything else, and Closed.
   */
  constructor(runtime: WasmtimeRuntime, slot: PluginSlot | FollowedKey) {
    super('observe', runtime, slot);
  }

  /**
   * Creates an adapter that uses the current version of the slot at each call. A missing slot is a failure of the call.
   * Throws InvalidArgument for anything but a key, and Closed.
   */
  static follow(runtime: WasmtimeRuntime, key: SlotKey): WasmtimeObservabilityHook {
    return new WasmtimeObservabilityHook(runtime, new FollowedKey(key));
  }

  /**
   * Calls the plugin with an event. The call blocks this thread for at most the deadline. Returns a failure of the
   * plugin. Throws InvalidArgument for an invalid event, and Closed.
   */
  observe(event: ObserveEvent, options?: CallOptions): ObservabilityError | undefined {
    try {
      this.inline(this.#call(event, options));
      return undefined;
    } catch (error) {
      return returned(error);
    }
  }

  /**
   * The asynchronous form of `observe`, on the thread that `options.where` selects. Rejects with `signal.reason` on
   * abort.
   */
  async observeAsync(event: ObserveEvent, options?: AsyncCallOptions): Promise<ObservabilityError | undefined> {
    try {
      await this.anywhere(this.#call(event, options), options);
      return undefined;
    } catch (error) {
      if (isAbort(error, options?.signal)) throw error;
      return returned(error);
    }
  }

  /**
   * Queues an event for delivery outside the request path, in the order of the slot's events. Returns false if it was
   * dropped because the slot's queue, or the limit of all queues, is full. Failures are counted in the slot's status;
   * `drain()` of the runtime waits for queued events. Throws InvalidArgument for an invalid event, and Closed. If the
   * adapter follows an absent slot, the event is dropped.
   */
  observeQueued(event: ObserveEvent, options?: CallOptions): boolean {
    try {
      return this.queued(this.#call(event, options));
    } catch (error) {
      if (error instanceof ObservabilityError) return false;
      throw error;
    }
  }

  #call(event: ObserveEvent, options: CallOptions | undefined): ObserveCall {
    checkObject(event, 'event');
    const version = this.versionFor('observe', toObservabilityError);
    const value = eventValue(event, version.schemas.observe.oauthPrincipalKind);
    return new ObserveCall(version, value, options, event);
  }
}

/** Converts an event to the form of this schema. */
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
  private readonly schema: SchemaByHook['observe'];
  private readonly event: ObserveEventValue;
  private readonly original: ObserveEvent;
  private readonly options: CallOptions | undefined;

  constructor(
    version: Version<'observe'>,
    event: ObserveEventValue,
    options: CallOptions | undefined,
    original: ObserveEvent,
  ) {
    super('observe', version, options, { principal: undefined, maxAnswerBytes: ANY_ANSWER, bodyBytes: 0 });
    this.schema = version.schemas.observe;
    this.event = event;
    this.original = original;
    this.options = options;
  }

  forVersion(version: Version<'observe'>): ObserveCall {
    const schema = version.schemas.observe;
    return new ObserveCall(version, eventValue(this.original, schema.oauthPrincipalKind), this.options, this.original);
  }

  unenforced(): void {}

  encode(scratch: CallScratch): void {
    encodeMessage(this.schema.request, this.event, scratch);
  }

  decode(): void {}
}

function returned(error: unknown): ObservabilityError {
  if (error instanceof ObservabilityError) return error;
  throw error;
}
