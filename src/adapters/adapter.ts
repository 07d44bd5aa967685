/** The base class of the adapters: selects the version and the thread of a call. */
import { type AsyncCallOptions, checkWhere, type Where } from '../call-options.ts';
import type { Core } from '../core.ts';
import { isAbort } from '../dispatch/abort.ts';
import { RawCall } from '../dispatch/raw-call.ts';
import { type Shadow, shadowOf } from '../dispatch/shadow.ts';
import { InvalidArgumentError, SlotNotFoundError } from '../errors.ts';
import type { PluginFailurePolicy } from '../policy/failure.ts';
import { coreOf, type WasmtimeRuntime } from '../runtime.ts';
import { keyOf, type SlotKey } from '../slot-key.ts';
import { checkSlotKind, noSlotAt, type PluginSlot, Slot } from '../slots.ts';
import type { HookKind, SlotKind } from '../types.ts';
import { checkBytes, checkSignal } from '../validate.ts';
import type { Version } from '../versions.ts';
import type { AdapterCall } from './adapter-call.ts';
import { toHookError, type WrapError } from './hook-error.ts';

/**
 * Body sizes in bytes from which `auto` selects another thread. `npm run bench:hand-over` measures how long each form
 * blocks the event loop. Another thread costs CPU time: the request is copied twice, and its copies are garbage. A plugin
 * that only reads the body blocks the event loop for less than the copies do, up to more than 1 MiB. A plugin that
 * returns the body blocks it for longer from about 200 KiB on, and uses half the CPU time of another thread.
 */
const WORTH_A_THREAD: Readonly<Record<HookKind, number>> = {
  filter: 2 * 1024 * 1024,
  shape: 512 * 1024,
  observe: 2 * 1024 * 1024,
  transform_response: 512 * 1024,
  transform_sse_event: 512 * 1024,
};

/** A key whose slot an adapter looks up at each call; created by `follow` of the adapters. */
export class FollowedKey {
  /** The key of the slot. */
  readonly key: SlotKey;

  /** Throws an InvalidArgumentError for anything but a key. */
  constructor(key: SlotKey) {
    this.key = keyOf(key);
  }
}

/** The base class of the adapters. */
export abstract class Adapter<Kind extends SlotKind> {
  readonly #core: Core;
  readonly #key: SlotKey;
  readonly #kind: Kind;
  /** The pinned version; null for an adapter that follows a key. */
  readonly #pinned: Version<Kind> | null;

  protected constructor(kind: Kind, runtime: WasmtimeRuntime, at: PluginSlot | FollowedKey) {
    this.#core = coreOf(runtime);
    this.#core.dispatcher.checkOpen();
    this.#kind = kind;
    if (at instanceof FollowedKey) {
      this.#key = at.key;
      this.#pinned = null;
      return;
    }
    if (!(at instanceof Slot)) throw new InvalidArgumentError('slot', 'expected a slot of this runtime');
    if (this.#core.slots.get(at.key) !== at) {
      if (!at.evicted) throw new InvalidArgumentError('slot', 'expected a slot of this runtime');
      const context = { plugin: at.version.pluginName, principal: at.key.principal, evicted: true };
      throw new SlotNotFoundError(`slot ${at.key} was evicted: use the slot of its next registration`, context);
    }
    this.#key = at.key;
    const slot: Slot = at;
    checkSlotKind(slot, kind);
    this.#pinned = slot.version;
  }

  /** The registered name of the plugin; the plugin of the key if a followed slot does not exist. */
  get pluginName(): string {
    return this.#version?.pluginName ?? this.#key.plugin;
  }

  /** The key of the slot. */
  get slotKey(): SlotKey {
    return this.#key;
  }

  /** The version of the next call: constant for a pinned adapter, undefined if a followed slot does not exist. */
  get versionId(): number | undefined {
    return this.#version?.versionId;
  }

  /** What happens to a request when this plugin fails. The policy of the slot replaces that of the runtime. */
  get failurePolicy(): PluginFailurePolicy {
    return this.#version?.options.failurePolicy ?? this.#core.config.pluginFailurePolicy;
  }

  /** Counts a request that is passed through after this plugin failed. `PluginChain` calls it. */
  countPassThrough(): void {
    const version = this.#version;
    if (version !== undefined) version.guard.stats.passThroughs++;
  }

  /**
   * Calls the hook with an encoded request and returns its encoded answer, without the checks of the adapter. Throws
   * SlotNotFound if a followed slot does not exist, InvalidArgument, Closed, and the error of the call, unwrapped.
   */
  callRaw(bytes: Uint8Array): Uint8Array {
    const version = this.versionFor(this.#kind, (fault) => fault);
    checkBytes(bytes, 'bytes');
    return this.#core.dispatcher.inline(new RawCall(version, this.#kind, bytes));
  }

  /** @internal */
  protected get core(): Core {
    return this.#core;
  }

  /**
   * Returns the version for a call of `hook`. Throws Closed, or the adapter's error if the slot does not exist.
   *
   * @internal
   */
  protected versionFor(hook: HookKind, wrapError: WrapError): Version<Kind> {
    this.#core.dispatcher.checkOpen();
    if (this.#pinned !== null) return this.#pinned;
    const slot = this.#core.slots.get(this.#key);
    try {
      if (slot === undefined) throw noSlotAt(this.#key);
      checkSlotKind(slot, this.#kind);
    } catch (error) {
      throw toHookError(error, hook, wrapError, undefined);
    }
    return slot.version;
  }

  /** Returns the current version; undefined if a followed slot does not exist. */
  get #version(): Version | undefined {
    return this.#pinned ?? this.#core.slots.get(this.#key)?.version;
  }

  /**
   * Calls inline. Throws the adapter's error for a failure of the plugin.
   *
   * @internal
   */
  protected inline<Answer>(call: AdapterCall<Answer>): Answer {
    const shadow = this.#shadowOf(call);
    let output: Answer;
    try {
      output = call.isEnforced ? this.#core.dispatcher.inline(call) : call.unenforced();
    } catch (error) {
      const wrapped = toHookError(error, call.hook, call.wrapError, call);
      shadow?.send({ error: wrapped });
      throw wrapped;
    }
    call.answered();
    shadow?.send({ output });
    return output;
  }

  /** Returns a copy of the call for the monitored version of the slot; null if no monitored version samples it. */
  #shadowOf<Answer>(call: AdapterCall<Answer>): Shadow | null {
    return call.guard.stats.monitor === null ? null : shadowOf(this.#core.dispatcher, call);
  }

  /**
   * Queues a call whose answer is ignored. Returns false if it was dropped.
   *
   * @internal
   */
  protected queued(call: AdapterCall<void>): boolean {
    this.#shadowOf(call)?.send({ output: undefined });
    return !call.isEnforced || this.#core.events.push(call);
  }

  /**
   * Calls on the thread that the options select. Rejects as `inline` throws, and with the signal's reason.
   *
   * @internal
   */
  protected async anywhere<Answer>(call: AdapterCall<Answer>, options: AsyncCallOptions | undefined): Promise<Answer> {
    const signal = options?.signal;
    const where = options?.where ?? 'auto';
    checkSignal(signal);
    checkWhere(where);
    signal?.throwIfAborted();
    call.signal = signal;
    const shadow = this.#shadowOf(call);
    let output: Answer;
    try {
      const made = call.isEnforced ? this.#place(call, where) : call.unenforced();
      output = made instanceof Promise ? await made : made;
    } catch (error) {
      if (isAbort(error, signal)) {
        shadow?.drop();
        throw error;
      }
      const wrapped = toHookError(error, call.hook, call.wrapError, call);
      shadow?.send({ error: wrapped });
      throw wrapped;
    }
    call.answered();
    shadow?.send({ output });
    return output;
  }

  #place<Answer>(call: AdapterCall<Answer>, where: Where): Answer | Promise<Answer> {
    const { dispatcher } = this.#core;
    switch (where) {
      case 'inline':
        return dispatcher.inline(call);
      case 'thread':
        return dispatcher.threaded(call);
      case 'auto': {
        const off = call.bodyBytes >= WORTH_A_THREAD[call.hook] || dispatcher.isLong(call);
        return off ? dispatcher.threaded(call) : dispatcher.sliced(call);
      }
    }
  }
}
