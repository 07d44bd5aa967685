/** What the adapters share: which version a call gets, its options, and the errors of its failures. */
import { deadlineSchema } from '../config.ts';
import type { Core } from '../core.ts';
import { ANY_ANSWER, type HookCall } from '../dispatch/call.ts';
import { RawCall } from '../dispatch/raw-call.ts';
import type { CallScratch } from '../dispatch/scratch.ts';
import {
  ClosedError,
  type ErrorContext,
  InvalidArgumentError,
  SlotNotFoundError,
  WasmtimeRuntimeError,
} from '../errors.ts';
import type { VersionGuard } from '../isolation/guard.ts';
import type { NativeModule } from '../native/addon.ts';
import type { PluginFailurePolicy } from '../policy/failure.ts';
import { AnswerRefused } from '../policy/refusal.ts';
import { coreOf, type WasmtimeRuntime } from '../runtime.ts';
import { keyOf, type SlotKey } from '../slot-key.ts';
import { checkSlotKind, noSlotAt, type PluginSlot, Slot } from '../slots.ts';
import type { HookKind, SlotKind } from '../types.ts';
import { checkBytes, checkObject, checkSignal } from '../validate.ts';
import type { Version } from '../versions.ts';
import { WireError } from '../wire/decode.ts';

/** Options of a call on this thread. */
export interface CallOptions {
  /** Milliseconds for this call, in place of the slot's and the runtime's. */
  readonly deadlineMs?: number | undefined;
}

/** Options of a call that gives a promise. */
export interface AsyncCallOptions extends CallOptions {
  /** Takes a queued call out of the queue and interrupts a running one; the promise rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
  /** On this thread, on another, or (the default) on another where the request is large enough to be worth it. */
  readonly where?: 'auto' | 'inline' | 'thread' | undefined;
}

/**
 * Body bytes from which a call is better made on another thread. `npm run bench:hand-over` measures it: handing a call over holds
 * the event loop for 20 to 30 µs, and a plugin that returns the body costs several times one that only looks at it.
 */
const WORTH_A_THREAD: Readonly<Record<HookKind, number>> = {
  filter: 128 * 1024,
  shape: 16 * 1024,
  observe: 128 * 1024,
  transform_response: 16 * 1024,
  transform_sse_event: 16 * 1024,
};

/** A key whose slot an adapter looks up at each call. `follow` of each adapter makes one. */
export class FollowedKey {
  /** The key that is followed. */
  readonly key: SlotKey;

  /** Throws an InvalidArgumentError for anything but a key. */
  constructor(key: SlotKey) {
    this.key = keyOf(key);
  }
}

/** The base of the adapters. */
export abstract class Adapter<Kind extends SlotKind> {
  readonly #core: Core;
  readonly #key: SlotKey;
  readonly #kind: Kind;
  /** Null for one that follows its slot. */
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
      throw new SlotNotFoundError(`slot ${at.key} was evicted`, context);
    }
    this.#key = at.key;
    const slot: Slot = at;
    checkSlotKind(slot, kind);
    this.#pinned = slot.version;
  }

  /** The name under which the plugin was registered; for an absent slot that is followed, the key's. */
  get pluginName(): string {
    return this.#version?.pluginName ?? this.#key.plugin;
  }

  /** The key of the slot that it is pinned to or follows. */
  get slotKey(): SlotKey {
    return this.#key;
  }

  /** The version that a call gets now: always the same for a pinned adapter, undefined for an absent slot. */
  get versionId(): number | undefined {
    return this.#version?.versionId;
  }

  /** What becomes of a request when this plugin fails; a slot's own policy beats the runtime's. */
  get failurePolicy(): PluginFailurePolicy {
    return this.#version?.failurePolicy ?? this.#core.config.pluginFailurePolicy;
  }

  /** Counts a request that went on without this plugin after it failed. `PluginChain` calls it. */
  countPassThrough(): void {
    const version = this.#version;
    if (version !== undefined) version.guard.stats.passThroughs++;
  }

  /**
   * Calls the hook on this thread with an encoded request and returns its encoded answer; no rule of the adapter applies.
   * Throws SlotNotFound for an absent slot that is followed, InvalidArgument, Closed, and what the call throws, unwrapped.
   */
  callRaw(bytes: Uint8Array): Uint8Array {
    const version = this.versionFor(this.#kind, (fault) => fault);
    checkBytes(bytes, 'bytes');
    return this.#core.dispatcher.inline(new RawCall(version, this.#kind, bytes));
  }

  protected get core(): Core {
    return this.#core;
  }

  /** The version that a call of `hook` gets. Throws Closed, or the adapter's error for a slot that does not exist. */
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

  /** The version that a call gets now; undefined for an absent slot that is followed. */
  get #version(): Version | undefined {
    return this.#pinned ?? this.#core.slots.get(this.#key)?.version;
  }

  /** Makes a call on this thread. Throws the adapter's error for a failure of the plugin. */
  protected inline<Answer>(call: AdapterCall<Answer>): Answer {
    try {
      return this.#core.dispatcher.inline(call);
    } catch (error) {
      throw toHookError(error, call.hook, call.wrapError, call);
    }
  }

  /** Makes a call on the thread that `options` say. Rejects as `inline` throws, and with the signal's reason. */
  protected async anywhere<Answer>(call: AdapterCall<Answer>, options: AsyncCallOptions | undefined): Promise<Answer> {
    const signal = options?.signal;
    checkSignal(signal);
    call.signal = signal;
    try {
      if (!goesToThread(call.hook, call.bodyBytes, options)) return this.#core.dispatcher.inline(call);
      return await this.#core.dispatcher.threaded(call);
    } catch (error) {
      throw isAbort(error, signal) ? error : toHookError(error, call.hook, call.wrapError, call);
    }
  }
}

/** One call of an adapter. Its constructor checks the arguments; its subclasses know the hook's messages. */
export abstract class AdapterCall<Answer> implements HookCall<Answer> {
  readonly module: NativeModule;
  readonly hook: HookKind;
  readonly plugin: string;
  readonly deadlineMs: number;
  readonly principal: string;
  readonly guard: VersionGuard;
  readonly maxAnswerBytes: number;
  readonly probe = false;
  /** Set for a call that gives a promise; the other forms take the option and ignore it. */
  signal: AbortSignal | undefined = undefined;
  /** Bytes of the caller's that the request carries; decides where `auto` makes the call. */
  readonly bodyBytes: number;
  private readonly version: Version;

  /** A call of `version` by `principal`, where one is known. Throws an InvalidArgumentError for bad options. */
  constructor(
    hook: HookKind,
    version: Version,
    options: CallOptions | undefined,
    limits: { readonly principal: unknown; readonly maxAnswerBytes: number; readonly bodyBytes: number },
  ) {
    if (options !== undefined) checkOptions(options);
    this.module = version.module;
    this.hook = hook;
    this.plugin = version.pluginName;
    this.deadlineMs = options?.deadlineMs === undefined ? version.deadlineMs : checkDeadline(options.deadlineMs);
    this.principal = typeof limits.principal === 'string' ? limits.principal : '';
    this.guard = version.guard;
    this.maxAnswerBytes = Math.min(limits.maxAnswerBytes, ANY_ANSWER);
    this.bodyBytes = limits.bodyBytes;
    this.version = version;
  }

  context(): ErrorContext {
    return this.version.contextOf(this.hook);
  }

  abstract encode(scratch: CallScratch): void;
  abstract decode(bytes: Buffer, start: number, end: number, leased: boolean): Answer;
  /** The adapter's error of a failure of the plugin. */
  abstract readonly wrapError: WrapError;
}

/**
 * A misspelt `deadlineMs` must not go unnoticed. The synchronous forms take the options of the others too, so that a
 * caller can share one object between them.
 */
function checkOptions(options: object): void {
  checkObject(options, 'options');
  for (const name in options) {
    if (name !== 'deadlineMs' && name !== 'signal' && name !== 'where') {
      throw new InvalidArgumentError(`options.${name}`, 'unknown field');
    }
  }
}

function checkDeadline(deadlineMs: unknown): number {
  const parsed = deadlineSchema.safeParse(deadlineMs);
  if (!parsed.success) {
    throw new InvalidArgumentError('options.deadlineMs', 'expected an integer of milliseconds from 1 to 2147483647');
  }
  return parsed.data;
}

function goesToThread(hook: HookKind, bytes: number, options: AsyncCallOptions | undefined): boolean {
  switch (options?.where ?? 'auto') {
    case 'inline':
      return false;
    case 'thread':
      return true;
    case 'auto':
      return bytes >= WORTH_A_THREAD[hook];
    default:
      throw new InvalidArgumentError('options.where', "expected 'auto', 'inline' or 'thread'");
  }
}

/** Whether the call failed because it was aborted. The reason may be anything, an error of this package too. */
export function isAbort(error: unknown, signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true && error === signal.reason;
}

/** What a plugin's failure can be: the runtime's error, an answer that does not decode, or one that breaks a rule. */
export type PluginFault = WasmtimeRuntimeError | WireError | AnswerRefused;
/** Makes the adapter's error of a failure. */
export type WrapError = (fault: PluginFault, context: ErrorContext) => Error;

/**
 * What to throw for an error of a call: the adapter's own error where the plugin is at fault, else the error itself.
 * `call` is undefined where the slot had no version to call.
 */
function toHookError(
  error: unknown,
  hook: HookKind,
  wrapError: WrapError,
  call: HookCall<unknown> | undefined,
): unknown {
  if (!isPluginFault(error)) return error;
  if (!(error instanceof WasmtimeRuntimeError)) return wrapError(error, { ...call?.context(), hook, cause: error });
  const { plugin, principal, versionId } = error;
  return wrapError(error, { plugin, principal, versionId, hook, cause: error });
}

/**
 * Whether an error of a call is the plugin's failure, which the adapter's own class reports. Bad arguments and a closed
 * runtime are the caller's, and an aborted call rejects with the signal's reason.
 */
function isPluginFault(error: unknown): error is PluginFault {
  if (error instanceof InvalidArgumentError || error instanceof ClosedError) return false;
  return error instanceof WasmtimeRuntimeError || error instanceof WireError || error instanceof AnswerRefused;
}
