/** What the adapters share: which cell a call goes to, its options, and how its failures are told. */
import { accessOf, type RuntimeAccess } from '../access.ts';
import { deadlineSchema } from '../config.ts';
import {
  ClosedError,
  type ErrorContext,
  InvalidArgumentError,
  SlotNotFoundError,
  WasmtimeRuntimeError,
} from '../errors.ts';
import type { PluginFailurePolicy } from '../policy/failure.ts';
import { AnswerRefused } from '../policy/refusal.ts';
import type { WasmtimeRuntime } from '../runtime.ts';
import { keyOf, type SlotKey } from '../slot-key.ts';
import { type Cell, checkSlotKind, noSlotAt, type PluginSlot, Slot } from '../slots.ts';
import type { HookKind, SlotKind } from '../types.ts';
import { WireError } from '../wire/decode.ts';
import { ANY_ANSWER, type CallTarget, type ReadAnswer } from './call.ts';
import type { CallScratch } from './scratch.ts';

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

/** Stands in a constructor's place of the slot for an adapter that follows its key. */
class FollowedKey {
  readonly key: SlotKey;
  constructor(key: SlotKey) {
    this.key = key;
  }
}

/** What `follow` hands to a constructor. Throws an InvalidArgumentError for anything but a key. */
export function followed(key: SlotKey): PluginSlot {
  return new FollowedKey(keyOf(key)) as unknown as PluginSlot;
}

/** The base of the adapters. */
export abstract class Adapter {
  readonly #runtime: RuntimeAccess;
  readonly #key: SlotKey;
  readonly #kind: SlotKind;
  /** Null for one that follows its slot. */
  readonly #pinned: Cell | null;

  protected constructor(kind: SlotKind, runtime: WasmtimeRuntime, at: PluginSlot) {
    this.#runtime = accessOf(runtime);
    this.#runtime.dispatcher.checkOpen();
    this.#kind = kind;
    if (at instanceof FollowedKey) {
      this.#key = at.key;
      this.#pinned = null;
      return;
    }
    if (!(at instanceof Slot)) throw new InvalidArgumentError('slot', 'expected a slot of this runtime');
    if (this.#runtime.slot(at.key) !== at) {
      if (!at.evicted) throw new InvalidArgumentError('slot', 'expected a slot of this runtime');
      const context = { plugin: at.current.pluginName, principal: at.key.principal, evicted: true };
      throw new SlotNotFoundError(`slot ${at.key} was evicted`, context);
    }
    this.#key = at.key;
    checkSlotKind(at, this.#kind);
    this.#pinned = at.current;
  }

  /** The name under which the plugin was registered; for an absent slot that is followed, the key's. */
  get pluginName(): string {
    return (this.#pinned ?? this.#runtime.slot(this.#key)?.current)?.pluginName ?? this.#key.plugin;
  }

  /** What becomes of a request when this plugin fails; a slot's own policy beats the runtime's. */
  get failurePolicy(): PluginFailurePolicy {
    const cell = this.#pinned ?? this.#runtime.slot(this.#key)?.current;
    return cell?.failurePolicy ?? this.#runtime.dispatcher.config.pluginFailurePolicy;
  }

  /** Counts a request that went on without this plugin after it failed. `PluginChain` calls it. */
  countPassThrough(): void {
    const cell = this.#pinned ?? this.#runtime.slot(this.#key)?.current;
    if (cell !== undefined) cell.guard.stats.passThroughs++;
  }

  protected get runtime(): RuntimeAccess {
    return this.#runtime;
  }

  /** The cell of this call. Throws Closed, or SlotNotFound for a slot that is followed and not there. */
  protected cell(): Cell {
    this.#runtime.dispatcher.checkOpen();
    if (this.#pinned !== null) return this.#pinned;
    const slot = this.#runtime.slot(this.#key);
    if (slot === undefined) throw noSlotAt(this.#key);
    checkSlotKind(slot, this.#kind);
    return slot.current;
  }
}

/** The target of one call of a cell's hook by `principal`, where one is known. Throws an InvalidArgumentError for bad options. */
export function targetOf(
  cell: Cell,
  hook: HookKind,
  options: CallOptions | undefined,
  principal: unknown,
  answerBytes = ANY_ANSWER,
): CallTarget {
  if (options !== undefined) checkOptions(options);
  return {
    module: cell.module,
    hook,
    plugin: cell.pluginName,
    principal: typeof principal === 'string' ? principal : '',
    guard: cell.guard,
    deadlineMs: options?.deadlineMs === undefined ? cell.deadlineMs : checkDeadline(options.deadlineMs),
    maxAnswerBytes: Math.min(answerBytes, ANY_ANSWER),
    context: () => contextOf(cell, hook),
  };
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

function contextOf(cell: Cell, hook: HookKind): ErrorContext {
  return { plugin: cell.pluginName, principal: cell.principal, versionId: cell.versionId, hook };
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

/** One call, ready to be made on either side. */
export interface PreparedCall<T> {
  readonly target: CallTarget;
  readonly encode: (scratch: CallScratch) => void;
  readonly read: ReadAnswer<T>;
  /** Bytes of the caller's that the request carries; decides where `auto` makes the call. */
  readonly bytes: number;
}

/** Makes a call on this thread; `tell` turns the plugin's failures into the adapter's class. */
export function callInline<T>(
  access: RuntimeAccess,
  hook: HookKind,
  prepare: () => PreparedCall<T>,
  tell: TellFault,
): T {
  let call: PreparedCall<T> | undefined;
  try {
    call = prepare();
    return access.dispatcher.inline(call.target, call.encode, call.read);
  } catch (error) {
    throw told(error, hook, tell, call?.target);
  }
}

/** Makes a call where `options` say. */
export async function callAnywhere<T>(
  access: RuntimeAccess,
  hook: HookKind,
  prepare: () => PreparedCall<T>,
  tell: TellFault,
  options: AsyncCallOptions | undefined,
): Promise<T> {
  checkSignal(options?.signal);
  let call: PreparedCall<T> | undefined;
  try {
    call = prepare();
    const { target, read } = call;
    const encode = unlessAbortedMeanwhile(call.encode, options?.signal);
    if (!goesToThread(hook, call.bytes, options)) return access.dispatcher.inline(target, encode, read);
    return await access.dispatcher.threaded(target, encode, read, { signal: options?.signal });
  } catch (error) {
    if (isAbort(error, options?.signal)) throw error;
    throw told(error, hook, tell, call?.target);
  }
}

/** Whether the call failed because it was aborted. The reason may be anything, an error of this package too. */
export function isAbort(error: unknown, signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true && error === signal.reason;
}

/** Encoding runs getters of the caller's, which may abort the call. */
function unlessAbortedMeanwhile(encode: PreparedCall<unknown>['encode'], signal: AbortSignal | undefined) {
  if (signal === undefined) return encode;
  return (scratch: CallScratch) => {
    signal.throwIfAborted();
    encode(scratch);
    signal.throwIfAborted();
  };
}

/** What to throw for an error of a call: the adapter's own error where the plugin is at fault, else the error itself. */
export function told(error: unknown, hook: HookKind, tell: TellFault, target?: CallTarget): unknown {
  return isPluginsFault(error) ? tell(error, faultContext(error, hook, target)) : error;
}

/** What a plugin's failure can be: the runtime's error, an answer that does not decode, or one that breaks a rule. */
export type Fault = WasmtimeRuntimeError | WireError | AnswerRefused;
/** Makes the adapter's error of a failure. */
export type TellFault = (fault: Fault, context: ErrorContext) => Error;

/**
 * Whether an error of a call is the plugin's failure, to be told by the adapter's own class. Bad arguments and a closed
 * runtime are the caller's, and an aborted call rejects with the signal's reason.
 */
function isPluginsFault(error: unknown): error is Fault {
  if (error instanceof InvalidArgumentError || error instanceof ClosedError) return false;
  return error instanceof WasmtimeRuntimeError || error instanceof WireError || error instanceof AnswerRefused;
}

function faultContext(error: Fault, hook: HookKind, target: CallTarget | undefined): ErrorContext {
  if (!(error instanceof WasmtimeRuntimeError)) return { ...target?.context(), hook, cause: error };
  const { plugin, principal, versionId } = error;
  return { plugin, principal, versionId, hook, cause: error };
}

function checkSignal(signal: unknown): void {
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new InvalidArgumentError('options.signal', 'expected an AbortSignal');
  }
}

/** Throws an InvalidArgumentError unless `value` is an object. */
export function checkObject(value: unknown, path: string): void {
  if (typeof value !== 'object' || value === null) throw new InvalidArgumentError(path, 'expected an object');
}
