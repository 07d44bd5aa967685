import type { ErrorContext } from '../errors.ts';
import type { VersionGuard } from '../isolation/guard.ts';
import type { NativeModule } from '../native/addon.ts';
import type { HookKind } from '../types.ts';
import type { EncodedBytes } from '../wire/decode.ts';
import type { HookCall } from './hook-call.ts';
import type { CallScratch } from './scratch.ts';

/** The target and the limits of a call. */
export type CallTarget = Pick<
  HookCall<unknown>,
  'module' | 'target' | 'hook' | 'plugin' | 'deadlineMs' | 'principal' | 'guard' | 'maxAnswerBytes'
>;

/** A call with an encoded request and a new instance, which no signal aborts. */
export abstract class EncodedCall<Answer> implements HookCall<Answer> {
  readonly module: NativeModule;
  readonly target: number;
  readonly hook: HookKind;
  readonly plugin: string;
  readonly deadlineMs: number;
  readonly principal: string;
  readonly guard: VersionGuard | null;
  readonly maxAnswerBytes: number;
  readonly stream = null;
  readonly probe = false;
  readonly signal = undefined;
  readonly #request: Uint8Array;

  protected constructor(call: CallTarget, request: Uint8Array) {
    this.module = call.module;
    this.target = call.target;
    this.hook = call.hook;
    this.plugin = call.plugin;
    this.deadlineMs = call.deadlineMs;
    this.principal = call.principal;
    this.guard = call.guard;
    this.maxAnswerBytes = call.maxAnswerBytes;
    this.#request = request;
  }

  abstract context(): ErrorContext;

  encode(scratch: CallScratch): void {
    scratch.headLength = 0;
    scratch.tailLength = 0;
    scratch.body = this.#request;
  }

  abstract decode(encoded: EncodedBytes): Answer;
  abstract breaksRule(answer: Answer): boolean;
}
