/** A call with an encoded request, whose answer is not decoded. */
import { type ErrorContext, ModuleRejectedError } from '../errors.ts';
import type { VersionGuard } from '../isolation/guard.ts';
import type { NativeModule } from '../native/addon.ts';
import type { HookKind } from '../types.ts';
import type { Version } from '../versions.ts';
import { ANY_ANSWER, type HookCall } from './call.ts';
import type { CallScratch } from './scratch.ts';

/** One raw call. */
export class RawCall implements HookCall<Uint8Array> {
  readonly module: NativeModule;
  readonly target: number;
  readonly hook: HookKind;
  readonly plugin: string;
  readonly deadlineMs: number;
  readonly principal: string;
  readonly guard: VersionGuard;
  readonly maxAnswerBytes = ANY_ANSWER;
  readonly stream = null;
  readonly probe = false;
  readonly signal = undefined;
  readonly #version: Version;
  readonly #request: Uint8Array;

  constructor(version: Version, hook: HookKind, request: Uint8Array) {
    if (version.options.enforcement === 'monitor') {
      throw new ModuleRejectedError('the slot has only a monitored version', version.contextOf(hook));
    }
    this.module = version.module;
    this.target = version.target;
    this.hook = hook;
    this.plugin = version.pluginName;
    this.deadlineMs = version.options.deadlineMs;
    this.principal = version.principal;
    this.guard = version.guard;
    this.#version = version;
    this.#request = request;
  }

  context(): ErrorContext {
    return this.#version.contextOf(this.hook);
  }

  encode(scratch: CallScratch): void {
    scratch.headLength = 0;
    scratch.tailLength = 0;
    scratch.body = this.#request;
  }

  decode(bytes: Buffer, start: number, end: number, leased: boolean): Uint8Array {
    const view = new Uint8Array(bytes.buffer, bytes.byteOffset + start, end - start);
    return leased ? new Uint8Array(view) : view;
  }
}
