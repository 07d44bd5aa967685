/**
 * Every error of the runtime: one base class, a class per kind, and a stable `code` on each.
 * Errors are recognized by `code`, which holds across two copies of the package in one process.
 */
import type { NativeFailure } from './native/binding.ts';

import { quoted } from './printable.ts';

/** The plugin, slot and hook that an error concerns. */
export interface ErrorContext {
  /** The name that the plugin was registered under. */
  plugin?: string | undefined;
  /** The principal of the slot's key. */
  principal?: string | undefined;
  /** The version of the slot that was called. */
  versionId?: number | undefined;
  /** The hook that was called. */
  hook?: string | undefined;
  /** The error that caused this one. */
  cause?: unknown;
}

/**
 * The base of every error that the runtime throws. Recognize an error by its `code`.
 *
 * @example
 * ```js
 * import { WasmtimeRuntime } from 'cc-lb-runtime-wasmtime';
 *
 * try {
 *   new WasmtimeRuntime({ deadlineMs: 0 });
 * } catch (error) {
 *   console.log(error.code, error.path); // → CC_LB_INVALID_ARGUMENT config.deadlineMs
 * }
 * ```
 */
export abstract class WasmtimeRuntimeError extends Error {
  /** The stable code of the class, such as `CC_LB_GUEST_TRAP`. */
  abstract readonly code: string;
  /**
   * Whether the same call may succeed later with nothing changed: temporary saturation, expiry, an open breaker, and
   * errors with such a cause.
   */
  readonly retryable: boolean;
  /** The name that the plugin was registered under. */
  readonly plugin: string | undefined;
  /** The principal of the slot's key. */
  readonly principal: string | undefined;
  /** The version of the slot that was called. */
  readonly versionId: number | undefined;
  /** The hook that was called. */
  readonly hook: string | undefined;

  constructor(message: string, context: ErrorContext = {}) {
    super(message, context.cause === undefined ? undefined : { cause: context.cause });
    this.name = new.target.name;
    this.retryable = context.cause instanceof WasmtimeRuntimeError && context.cause.retryable;
    this.plugin = context.plugin;
    this.principal = context.principal;
    this.versionId = context.versionId;
    this.hook = context.hook;
  }
}

/** The engine could not be built from the config; the message names the setting to lower. */
export class EngineInitError extends WasmtimeRuntimeError {
  override readonly code = 'CC_LB_ENGINE_INIT';
}

/**
 * Why a module does not compile: the compiler rejected it (`invalid`), it exceeded `compileTimeoutMs` (`time`),
 * `maxCompileBytes` (`memory`) or `maxImageBytes` (`image`), or the compiler crashed (`crash`).
 */
export type CompileFailureReason = 'invalid' | 'time' | 'memory' | 'image' | 'crash';

/** The module is invalid or cannot be compiled within its limits. */
export class ModuleCompileError extends WasmtimeRuntimeError {
  override readonly code = 'CC_LB_MODULE_COMPILE';
  /** The reason. */
  readonly reason: CompileFailureReason;
  constructor(reason: CompileFailureReason, message: string, context?: ErrorContext) {
    super(`the module does not compile: ${message}`, context);
    this.reason = reason;
  }
}

/** The host cannot run a compile process. The module is not the cause. */
export class CompileProcessError extends WasmtimeRuntimeError {
  override readonly code = 'CC_LB_COMPILE_PROCESS';
  override readonly retryable: boolean;
  constructor(message: string, context: ErrorContext & { retryable?: boolean } = {}) {
    super(message, context);
    this.retryable = context.retryable === true;
  }
}

/** The module could not be instantiated. A start function that traps or expires is the `cause`, a GuestTrap. */
export class InstantiateFailedError extends WasmtimeRuntimeError {
  override readonly code = 'CC_LB_INSTANTIATE_FAILED';
}

/**
 * The module or its answer breaks the plugin contract, or a slot does not fit the operation. `reason`, which is also the
 * message, names the culprit and what was expected.
 */
export class ModuleRejectedError extends WasmtimeRuntimeError {
  override readonly code: string = 'CC_LB_MODULE_REJECTED';
  /** The section, export, hook, or slot at fault, and what was expected. */
  readonly reason: string;
  constructor(reason: string, context?: ErrorContext) {
    super(reason, context);
    this.reason = reason;
  }
}

/** No slot is registered under the key, or it was evicted (`CC_LB_SLOT_EVICTED`). */
export class SlotNotFoundError extends ModuleRejectedError {
  override readonly code: 'CC_LB_SLOT_NOT_FOUND' | 'CC_LB_SLOT_EVICTED';
  constructor(reason: string, context?: ErrorContext & { evicted?: boolean }) {
    super(reason, context);
    this.code = context?.evicted ? 'CC_LB_SLOT_EVICTED' : 'CC_LB_SLOT_NOT_FOUND';
  }
}

/** A declared hook failed on the canonical sample that admission sends. */
export class ProbeFailedError extends WasmtimeRuntimeError {
  override readonly code = 'CC_LB_PROBE_FAILED';
  /** Why the sample failed. */
  readonly reason: string;
  constructor(hook: string, reason: string, context?: ErrorContext) {
    super(`probe of hook ${hook} failed: ${reason}`, { ...context, hook });
    this.reason = reason;
  }
}

/** One active function of a guest that trapped. */
export interface WasmFrame {
  /** Its name in the module's name section, which may contain any characters; null without one. */
  readonly function: string | null;
  /** Its index in the module. */
  readonly index: number;
  /** The offset of the instruction from the start of the module's file, in bytes. */
  readonly offset: number | null;
}

/** The guest trapped, or exceeded its deadline (`trap` is then `interrupt`). */
export class GuestTrapError extends WasmtimeRuntimeError {
  override readonly code = 'CC_LB_GUEST_TRAP';
  override readonly retryable: boolean;
  /** `instantiate`, `cc_lb_alloc`, `memory.write` or the export's name. */
  readonly phase: string;
  /** wasmtime's trap name in kebab-case, else `unknown`. */
  readonly trap: string;
  /** The wasm functions that were active, innermost first; empty unless the runtime has the option `explain`. */
  readonly frames: readonly WasmFrame[];
  constructor(phase: string, trap: string, detail: string, context?: ErrorContext, frames: readonly WasmFrame[] = []) {
    super(`guest trap during ${phase}: ${detail}`, context);
    this.phase = phase;
    this.trap = trap;
    this.frames = frames;
    this.retryable = trap === 'interrupt';
  }
}

/** The limited resources of the runtime. */
export type SaturatedResource = 'stores' | 'pool' | 'queue' | 'staging' | 'compile' | 'streams' | 'address-space';

/** The setting to raise for each resource, or to lower for the address space. */
const LIMITS: Readonly<Record<SaturatedResource, string>> = {
  stores: 'poolTotalCoreInstances',
  pool: 'poolTotalMemories and poolTotalCoreInstances',
  queue: 'maxQueuedCalls',
  staging: 'maxStagingBytes',
  compile: 'maxQueuedCompiles and maxQueuedCompileBytes',
  streams: 'maxStreamBytes',
  'address-space': 'a memory needs memoryReservationBytes of it',
};

/** A limit of the runtime is reached, temporarily or for any call of this size; `resource` names it. */
export class PoolSaturatedError extends WasmtimeRuntimeError {
  override readonly code = 'CC_LB_POOL_SATURATED';
  override readonly retryable: boolean;
  /** The resource whose limit is reached. */
  readonly resource: SaturatedResource;
  /** `neverFits` is the reason why the same call can never succeed; without it, a retry may. */
  constructor(resource: SaturatedResource, context?: ErrorContext, neverFits?: string) {
    super(`plugin runtime saturated: ${neverFits ?? `${resource} limit reached (${LIMITS[resource]})`}`, context);
    this.resource = resource;
    this.retryable = neverFits === undefined;
  }
}

/** Why calls are rejected: an operator disabled the plugin, or its breaker is open. */
export type UnavailableState = 'disabled' | 'breaker-open';

/** The call is rejected: the plugin was disabled (`CC_LB_PLUGIN_DISABLED`), or its breaker is open. */
export class PluginUnavailableError extends WasmtimeRuntimeError {
  override readonly code: 'CC_LB_PLUGIN_DISABLED' | 'CC_LB_BREAKER_OPEN';
  override readonly retryable: boolean;
  /** Why calls are rejected. */
  readonly state: UnavailableState;
  /** The operator's reason, or what opened the breaker. */
  readonly reason: string;
  /** Milliseconds until the breaker tries the plugin again; null for a disabled one. */
  readonly retryAfterMs: number | null;
  constructor(state: UnavailableState, reason: string, retryAfterMs: number | null, context?: ErrorContext) {
    const retry = retryAfterMs === null ? '' : `; the plugin is tried again in ${retryAfterMs} ms`;
    super(`plugin ${state === 'disabled' ? 'disabled' : 'breaker open'}: ${quoted(reason)}${retry}`, context);
    this.retryable = state === 'breaker-open';
    this.code = state === 'disabled' ? 'CC_LB_PLUGIN_DISABLED' : 'CC_LB_BREAKER_OPEN';
    this.state = state;
    this.reason = reason;
    this.retryAfterMs = retryAfterMs;
  }
}

/** An argument of the caller is invalid; `path` is the path of the field. */
export class InvalidArgumentError extends WasmtimeRuntimeError {
  override readonly code = 'CC_LB_INVALID_ARGUMENT';
  /** The path of the field, such as `config.wireBounds.maxHeaders`. */
  readonly path: string;
  constructor(path: string, expectation: string, context?: ErrorContext) {
    super(`${path}: ${expectation}`, context);
    this.path = path;
  }
}

/** The runtime was closed. */
export class ClosedError extends WasmtimeRuntimeError {
  override readonly code = 'CC_LB_CLOSED';
  constructor(what = 'the runtime') {
    super(`${what} is closed`);
  }
}

/** The thread has too little native stack left to enter a guest safely. */
export class StackExhaustedError extends WasmtimeRuntimeError {
  override readonly code = 'CC_LB_STACK_EXHAUSTED';
}

/** `trap`: the plugin trapped. `runtime`: any other failure of the runtime or of the answer. */
export type AdapterFailureKind = 'trap' | 'runtime';

/** A filter plugin failed, or its answer breaks a rule of the contract. */
export class FilterError extends WasmtimeRuntimeError {
  override readonly code = 'CC_LB_FILTER';
  /** `trap` if the guest trapped, else `runtime`. */
  readonly kind: AdapterFailureKind;
  constructor(kind: AdapterFailureKind, message: string, context?: ErrorContext) {
    super(message, context);
    this.kind = kind;
  }
}

/** The kinds of the Rust crate: a URL of the answer that cannot be parsed, or any other failure. */
export type DialectFailureKind = 'invalid-url' | 'unsupported-request';

/** A shape plugin failed or its answer breaks the rules. */
export class DialectError extends WasmtimeRuntimeError {
  override readonly code = 'CC_LB_DIALECT';
  /** What the failure is about. */
  readonly kind: DialectFailureKind;
  constructor(kind: DialectFailureKind, message: string, context?: ErrorContext) {
    super(message, context);
    this.kind = kind;
  }
}

/** A transform failed, or its answer breaks a rule of the contract. */
export class ResponseTransformError extends WasmtimeRuntimeError {
  override readonly code = 'CC_LB_RESPONSE_TRANSFORM';
  /** `trap` if the guest trapped, else `runtime`. */
  readonly kind: AdapterFailureKind;
  constructor(kind: AdapterFailureKind, message: string, context?: ErrorContext) {
    super(message, context);
    this.kind = kind;
  }
}

/** An observe plugin failed. The error is returned, not thrown, because observing never fails a request. */
export class ObservabilityError extends WasmtimeRuntimeError {
  override readonly code = 'CC_LB_OBSERVABILITY';
}

/** Converts a native failure to its error class. Throws a plain Error for an unknown kind. */
export function errorOf(failure: NativeFailure, context: ErrorContext): WasmtimeRuntimeError {
  const { kind, message } = failure;
  switch (kind) {
    case 'trap':
      return trapOf(failure, context);
    case 'saturated':
      return new PoolSaturatedError(failure.resource!, context);
    case 'busy':
      return new InvalidArgumentError('event', message, context);
    case 'ended':
    case 'rejected':
      return new ModuleRejectedError(message, context);
    case 'compile':
      return new ModuleCompileError(failure.reason!, message, context);
    case 'compile-process':
      return new CompileProcessError(message, { ...context, retryable: failure.retryable });
    case 'stack':
      return new StackExhaustedError(`${message}; lower maxWasmStack or call from a thread with more stack`, context);
    case 'engine-init':
      return new EngineInitError(message, context);
    case 'instantiate': {
      const cause = failure.trap === null ? undefined : trapOf(failure, context);
      return new InstantiateFailedError(`the module cannot be instantiated: ${message}`, { ...context, cause });
    }
    default:
      // A defect of this package or an addon of another version: no class and no failure policy covers it.
      throw new Error(`the addon reported a failure of unknown kind ${JSON.stringify(kind)}: ${message}`);
  }
}

function trapOf({ phase, trap, message, frames }: NativeFailure, context: ErrorContext): GuestTrapError {
  const detail = trap === 'interrupt' ? `${message} (the deadline expired)` : message;
  return new GuestTrapError(phase!, trap!, detail, context, frames);
}
