/** Shared by the adapters: the version, the options and the errors of a call. */
import { deadlineSchema } from '../config.ts';
import type { Core } from '../core.ts';
import { ANY_ANSWER, type HookCall } from '../dispatch/hook-call.ts';
import { RawCall } from '../dispatch/raw-call.ts';
import type { CallScratch } from '../dispatch/scratch.ts';
import { type Shadow, shadowOf } from '../dispatch/shadow.ts';
import {
  ClosedError,
  type ErrorContext,
  InvalidArgumentError,
  SlotNotFoundError,
  WasmtimeRuntimeError,
} from '../errors.ts';
import type { VersionGuard } from '../isolation/guard.ts';
import type { NativeModule, NativeStream } from '../native/addon.ts';
import type { PluginFailurePolicy } from '../policy/failure.ts';
import { InvalidAnswerError } from '../policy/invalid-answer.ts';
import { coreOf, type WasmtimeRuntime } from '../runtime.ts';
import { keyOf, type SlotKey } from '../slot-key.ts';
import { checkSlotKind, noSlotAt, type PluginSlot, Slot } from '../slots.ts';
import type { HookKind, SlotKind } from '../types.ts';
import { checkBytes, checkObject, checkSignal } from '../validate.ts';
import type { Version } from '../versions.ts';
import { type BytesMemory, WireError } from '../wire/decode.ts';

/** Options of a synchronous call. */
export interface CallOptions {
  /** Milliseconds for this call, instead of the slot's or the runtime's. */
  readonly deadlineMs?: number | undefined;
  /**
   * Set it if the request's body does not change after the call: a shape that preserves the body may then return the
   * same bytes instead of a copy. Other calls ignore it.
   */
  readonly sharesBody?: boolean | undefined;
  /**
   * Memory for the body of the answer of a shape or of `transformResponse`, so that it does not become garbage: a body that
   * fits is written there after the call, and `body` is a view of it. Use it again when that body is no longer needed. An
   * answer that already has memory of its own is not copied: one of another thread, and one of more than 2 MiB. It is not
   * used while the slot has a monitored version, which compares the bodies later.
   */
  readonly bodyInto?: Uint8Array | undefined;
}

/** Options of an asynchronous call. */
export interface AsyncCallOptions extends CallOptions {
  /** Removes a queued call from the queue and interrupts a running one; the promise rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
  /**
   * The thread of the call. `auto` (the default) selects another thread if the request is large or earlier calls took
   * long, else this thread for `inlineSliceMs` of CPU time; a call that exceeds it is repeated on another.
   */
  readonly where?: 'auto' | 'inline' | 'thread' | undefined;
}

type Where = NonNullable<AsyncCallOptions['where']>;

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

/**
 * A call of an adapter. Its constructor validates the arguments; its subclasses encode and decode the messages of a
 * hook.
 */
export abstract class AdapterCall<Answer> implements HookCall<Answer> {
  readonly module: NativeModule;
  readonly target: number;
  readonly hook: HookKind;
  readonly plugin: string;
  readonly deadlineMs: number;
  readonly principal: string;
  readonly guard: VersionGuard;
  readonly maxAnswerBytes: number;
  readonly stream: NativeStream | null = null;
  readonly probe = false;
  /** Set for an asynchronous call; synchronous calls ignore the option. */
  signal: AbortSignal | undefined = undefined;
  /** Bytes of the caller's body, by which `auto` selects the thread. */
  readonly bodyBytes: number;
  private readonly version: Version;

  /**
   * A call of `version`, or of `target`, by `principal`, if known. Throws an InvalidArgumentError for invalid options.
   */
  constructor(
    hook: HookKind,
    version: Version,
    options: CallOptions | undefined,
    limits: {
      readonly target?: number | undefined;
      readonly principal: unknown;
      readonly maxAnswerBytes: number;
      readonly bodyBytes: number;
    },
  ) {
    if (options !== undefined) checkOptions(options);
    this.module = version.module;
    this.target = limits.target ?? version.target;
    this.hook = hook;
    this.plugin = version.pluginName;
    this.deadlineMs =
      options?.deadlineMs === undefined ? version.options.deadlineMs : checkDeadline(options.deadlineMs);
    this.principal = typeof limits.principal === 'string' ? limits.principal : version.principal;
    this.guard = version.guard;
    this.maxAnswerBytes = Math.min(limits.maxAnswerBytes, ANY_ANSWER);
    this.bodyBytes = limits.bodyBytes;
    this.version = version;
  }

  /** Whether the version's answer is used. */
  get isEnforced(): boolean {
    return this.version.options.enforcement === 'enforce';
  }

  context(): ErrorContext {
    return this.version.contextOf(this.hook);
  }

  /** Returns where the body of the answer is copied to, or `repeated` if it is equal; undefined for new memory. */
  protected bodyMemory(options: CallOptions | undefined, repeated: Uint8Array | null = null): BytesMemory | undefined {
    if (options === undefined) return undefined;
    // The answer of a monitored version is compared with this one later.
    const into = this.guard.stats.monitor === null ? options.bodyInto : undefined;
    return { repeated, into: into ?? null };
  }

  abstract encode(scratch: CallScratch): void;
  abstract decode(bytes: Buffer, start: number, end: number, leased: boolean): Answer;
  breaksRule(_answer: Answer): boolean {
    return false;
  }
  /** Publishes events about a decoded answer, after everything that the call leased was returned. */
  answered(): void {}
  /** Returns the adapter's error for a failure of the plugin. */
  abstract readonly wrapError: WrapError;
  /** Returns the same call for a monitored version; null if that version does not declare the hook. */
  abstract forVersion(version: Version): AdapterCall<Answer> | null;
  /** Returns the outcome if the version is only monitored: the request or event passes through unchanged. */
  abstract unenforced(): Answer;
}

const OPTIONS: ReadonlySet<string> = new Set(['deadlineMs', 'signal', 'where', 'sharesBody', 'bodyInto']);

/**
 * Rejects unknown options, such as a misspelled `deadlineMs`. The synchronous forms accept the options of the
 * asynchronous ones, so that a caller can use one object for both.
 */
function checkOptions(options: object): void {
  checkObject(options, 'options');
  for (const name in options) {
    if (!OPTIONS.has(name)) throw new InvalidArgumentError(`options.${name}`, 'unknown field');
  }
  const { bodyInto } = options as CallOptions;
  if (bodyInto !== undefined) checkBytes(bodyInto, 'options.bodyInto');
}

function checkWhere(where: unknown): asserts where is Where {
  if (where !== 'auto' && where !== 'inline' && where !== 'thread') {
    throw new InvalidArgumentError('options.where', "expected 'auto', 'inline' or 'thread'");
  }
}

function checkDeadline(deadlineMs: unknown): number {
  const parsed = deadlineSchema.safeParse(deadlineMs);
  if (!parsed.success) {
    throw new InvalidArgumentError('options.deadlineMs', 'expected an integer of milliseconds from 1 to 2147483647');
  }
  return parsed.data;
}

/** Whether the call failed because it was aborted. The reason may be any value, including an error of this package. */
export function isAbort(error: unknown, signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true && error === signal.reason;
}

/** A failure of a plugin: an error of the runtime, an answer that does not decode, or an answer that breaks a rule. */
export type PluginFault = WasmtimeRuntimeError | WireError | InvalidAnswerError;
/** Creates the adapter's error for a failure. */
export type WrapError = (fault: PluginFault, context: ErrorContext) => Error;

/**
 * Returns the error to throw for an error of a call: the adapter's error for a failure of the plugin, else the error
 * itself. `call` is undefined if the slot does not exist.
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
 * Whether an error of a call is a failure of the plugin, which the adapter's error class reports. Invalid arguments and
 * a closed runtime are not, and an aborted call rejects with the signal's reason.
 */
function isPluginFault(error: unknown): error is PluginFault {
  if (error instanceof InvalidArgumentError || error instanceof ClosedError) return false;
  return error instanceof WasmtimeRuntimeError || error instanceof WireError || error instanceof InvalidAnswerError;
}
