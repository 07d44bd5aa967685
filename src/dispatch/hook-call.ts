/** A hook call as the dispatcher makes it. Adapters, admission and queues implement it. */
import type { ErrorContext } from '../errors.ts';
import type { VersionGuard } from '../isolation/guard.ts';
import type { NativeModule, NativeStream } from '../native/addon.ts';
import type { EncodedBytes } from '../wire/decode.ts';
import type { CallParameters, CallScratch } from './scratch.ts';

/** One call of a hook: its target, its limits, and the encoding and decoding of its message. */
export interface HookCall<Answer> extends CallParameters {
  readonly module: NativeModule;
  /** The stream whose instance serves the call; null for a fresh instance. */
  readonly stream: NativeStream | null;
  /** The `plugin` label of its metrics. */
  readonly plugin: string;
  /** The calling principal, which the breaker of a global slot counts separately. */
  readonly principal: string;
  /** The principal in whose line an off-thread call waits; absent is the calling one. */
  readonly queuedFor?: string;
  /** The guard of the slot version; null for probes, which belong to no slot. */
  readonly guard: VersionGuard | null;
  /** Whether the call is repeated with a longer deadline if it expires, which is then not recorded. */
  readonly isRepeated?: boolean;
  /** Aborts an off-thread call. */
  readonly signal: AbortSignal | undefined;
  /** The context of the call for errors. */
  context(): ErrorContext;
  /** Writes the request into `scratch`. Runs the caller's getters, and throws what they throw. */
  encode(scratch: CallScratch): void;
  /** Decodes the answer. */
  decode(encoded: EncodedBytes): Answer;
  /** Whether a decoded answer breaks a rule of the chain. It is returned, but counts as invalid. */
  breaksRule(answer: Answer): boolean;
}

/** A bound that no answer can exceed, for calls without a bound. */
export const ANY_ANSWER = 0xffff_ffff;
