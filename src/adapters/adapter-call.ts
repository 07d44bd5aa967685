/** The base class of the calls that adapters make. */
import { type CallOptions, checkCallOptions, checkDeadline } from '../call-options.ts';
import { ANY_ANSWER, type HookCall } from '../dispatch/hook-call.ts';
import type { CallScratch } from '../dispatch/scratch.ts';
import type { ErrorContext } from '../errors.ts';
import type { VersionGuard } from '../isolation/guard.ts';
import type { NativeModule, NativeStream } from '../native/addon.ts';
import type { HookKind } from '../types.ts';
import type { Version } from '../versions.ts';
import type { BytesMemory, EncodedBytes } from '../wire/decode.ts';
import type { WrapError } from './hook-error.ts';

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
    if (options !== undefined) checkCallOptions(options);
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
  abstract decode(encoded: EncodedBytes): Answer;
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
