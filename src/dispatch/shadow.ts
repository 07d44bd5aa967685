/** Calls of monitored versions: the request is copied before the enforced call, and sent after it. */
import type { ErrorContext } from '../errors.ts';
import type { VersionGuard } from '../isolation/guard.ts';
import type { MonitoredAnswer } from '../isolation/monitor.ts';
import type { Version } from '../versions.ts';
import type { EncodedBytes } from '../wire/decode.ts';
import type { Dispatcher } from './dispatcher.ts';
import { encodedCopy } from './encode.ts';
import { EncodedCall } from './encoded-call.ts';
import type { HookCall } from './hook-call.ts';

/** A copied request, which counts as a monitored call in flight until one of the methods ends it. */
export interface Shadow {
  /** Calls the monitored version, when the enforced outcome is known. */
  send(enforced: MonitoredAnswer): void;
  /** Drops the copy of a call that has no enforced outcome, because it was aborted. */
  drop(): void;
}

/** A call that can be repeated with another version. `answered` publishes events about its decoded answer. */
interface Shadowed<Answer> extends HookCall<Answer> {
  readonly guard: VersionGuard;
  readonly bodyBytes: number;
  forVersion(version: Version): (HookCall<Answer> & { answered(): void }) | null;
}

/** Returns the shadow of a call if the monitored version of its slot samples it, else null. Never throws. */
export function shadowOf<Answer>(dispatcher: Dispatcher, call: Shadowed<Answer>): Shadow | null {
  const { monitor } = call.guard.stats;
  if (monitor === null || !monitor.samples(call.bodyBytes)) return null;
  try {
    const monitored = call.forVersion(monitor.version as Version);
    if (monitored === null) {
      monitor.release();
      return null;
    }
    const copy = new CopiedCall(monitored);
    const repeat = async () => {
      const output = await dispatcher.threaded(copy);
      monitored.answered();
      return output;
    };
    return {
      send(enforced) {
        const { inFlight } = dispatcher;
        inFlight.beginReport();
        monitor.run(call.hook, repeat, enforced).finally(() => inFlight.endReport());
      },
      drop: () => monitor.release(),
    };
  } catch {
    // Usually an invalid argument, which the enforced call reports unless only the monitored version's schema has the
    // field.
    monitor.skip();
    return null;
  }
}

/**
 * The principal that all monitored calls wait for. In the line of the caller, its requests would wait for a slow monitored
 * version; with lines of their own, several slow ones could hold all permits.
 */
const MONITORED_PRINCIPAL = '__monitored__';

/** A call with an encoded copy of the request. */
class CopiedCall<Answer> extends EncodedCall<Answer> {
  readonly queuedFor = MONITORED_PRINCIPAL;
  readonly #call: HookCall<Answer>;

  constructor(call: HookCall<Answer>) {
    super(call, encodedCopy(call));
    this.#call = call;
  }

  context(): ErrorContext {
    return this.#call.context();
  }

  decode(encoded: EncodedBytes): Answer {
    return this.#call.decode(encoded);
  }

  breaksRule(answer: Answer): boolean {
    return this.#call.breaksRule(answer);
  }
}
