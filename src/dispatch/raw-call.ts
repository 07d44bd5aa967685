/** A call with an encoded request, whose answer is not decoded. */
import { type ErrorContext, ModuleRejectedError } from '../errors.ts';
import { quoted } from '../printable.ts';
import type { HookKind } from '../types.ts';
import type { Version } from '../versions.ts';
import type { EncodedBytes } from '../wire/decode.ts';
import { EncodedCall } from './encoded-call.ts';
import { ANY_ANSWER } from './hook-call.ts';

/** One raw call. */
export class RawCall extends EncodedCall<Uint8Array> {
  readonly #version: Version;

  constructor(version: Version, hook: HookKind, request: Uint8Array) {
    if (version.options.enforcement === 'monitor') {
      throw new ModuleRejectedError(
        `plugin ${quoted(version.pluginName)} has only a monitored version, which enforce(key) makes callable`,
        version.contextOf(hook),
      );
    }
    const { module, target, pluginName: plugin, principal, guard } = version;
    const { deadlineMs } = version.options;
    super({ module, target, hook, plugin, deadlineMs, principal, guard, maxAnswerBytes: ANY_ANSWER }, request);
    this.#version = version;
  }

  context(): ErrorContext {
    return this.#version.contextOf(this.hook);
  }

  decode({ bytes, start, end, leased }: EncodedBytes): Uint8Array {
    const view = new Uint8Array(bytes.buffer, bytes.byteOffset + start, end - start);
    return leased ? new Uint8Array(view) : view;
  }

  breaksRule(): boolean {
    return false;
  }
}
