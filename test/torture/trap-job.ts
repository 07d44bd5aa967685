/** Guests that trap in every possible way, inline and off-thread, with V8's own traps in between. */
import {
  GuestTrapError,
  SlotKey,
  WasmtimeFilterPlugin,
  WasmtimeObservabilityHook,
  WasmtimeRuntime,
  WasmtimeUpstreamDialect,
} from '../../src/index.ts';
import { started, upstream } from '../support/samples.ts';
import { Random } from '../wire/fuzz/random.ts';
import {
  BEHAVIORS,
  body,
  caller,
  candidates,
  endlessGuest,
  misbehaving,
  plugin,
  request,
  textGuests,
} from './guests.ts';
import type { Job } from './jobs.ts';
import { ensure } from './scenario.ts';
import { trapInV8 } from './v8-traps.ts';

interface Trap {
  readonly name: string;
  /** A deadline may pass in any phase. */
  readonly expected: { readonly trap: string; readonly phase?: string };
  /** Makes the call and returns the error that it threw or returned. */
  trigger(): unknown;
  triggerOffThread(): Promise<unknown>;
  /** One turn in this many makes the call: slow traps are rarer. */
  readonly every: number;
}

const thrownBy = (call: () => unknown): unknown => {
  try {
    call();
  } catch (error) {
    return error;
  }
  return undefined;
};
const rejectedBy = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => undefined,
    (error: unknown) => error,
  );

export async function trapJob(seed: number): Promise<Job> {
  const random = new Random(seed);
  const traps = [...trapsOf(new WasmtimeRuntime()), ...trapsOf(new WasmtimeRuntime({ allocationStrategy: 'pooling' }))];
  let turn = 0;
  return async (units) => {
    let done = 0;
    const offThread: Promise<void>[] = [];
    while (done < units) {
      const trap = traps[turn++ % traps.length]!;
      if (random.below(trap.every) > 0) continue;
      trapInV8();
      if (random.below(16) === 0) offThread.push(trap.triggerOffThread().then((error) => check(trap, error)));
      else check(trap, trap.trigger());
      trapInV8();
      done++;
    }
    await Promise.all(offThread);
    return done;
  };
}

function check({ name, expected }: Trap, error: unknown): void {
  const cause = (error as Error | undefined)?.cause;
  const expectedTrap =
    cause instanceof GuestTrapError && cause.trap === expected.trap && cause.phase === (expected.phase ?? cause.phase);
  ensure(expectedTrap, () => `${name} ended in ${error} (${cause instanceof GuestTrapError ? cause.trap : cause})`);
}

function trapsOf(runtime: WasmtimeRuntime): Trap[] {
  const thread = { where: 'thread' } as const;
  const register = (name: string, bytes: Uint8Array) =>
    new WasmtimeFilterPlugin(runtime, runtime.registerFilter(SlotKey.global(name), name, bytes));
  const filter = register('filter', plugin('misbehave'));
  const dialect = new WasmtimeUpstreamDialect(
    runtime,
    runtime.registerShape(SlotKey.global('shape'), 'shape', plugin('misbehave')),
  );
  const hook = new WasmtimeObservabilityHook(
    runtime,
    runtime.registerObserve(SlotKey.global('observe'), 'observe', plugin('misbehave')),
  );
  const cases = BEHAVIORS.flatMap(([behavior, trap]): Trap[] => {
    const every = behavior.startsWith('overflow') ? 8 : 1;
    const shaped = [request({ body }), upstream, caller({ do: behavior })] as const;
    const event = started(`do:${behavior}`);
    return [
      {
        ...{ name: `filter ${behavior}`, every, expected: { trap, phase: 'cc_lb_filter' } },
        trigger: () => thrownBy(() => filter.filter(...misbehaving(behavior))),
        triggerOffThread: () => rejectedBy(filter.filterAsync(...misbehaving(behavior), thread)),
      },
      {
        ...{ name: `shape ${behavior}`, every, expected: { trap, phase: 'cc_lb_shape' } },
        trigger: () => thrownBy(() => dialect.shape(...shaped)),
        triggerOffThread: () => rejectedBy(dialect.shapeAsync(...shaped, thread)),
      },
      {
        ...{ name: `observe ${behavior}`, every, expected: { trap, phase: 'cc_lb_observe' } },
        trigger: () => hook.observe(event),
        triggerOffThread: () => hook.observeAsync(event, thread),
      },
    ];
  });
  const filtered = (name: string, adapter: WasmtimeFilterPlugin, options: { deadlineMs?: number }) => ({
    name,
    trigger: () => thrownBy(() => adapter.filter(request({ body }), caller(), candidates(1), options)),
    triggerOffThread: () =>
      rejectedBy(adapter.filterAsync(request({ body }), caller(), candidates(1), { ...options, ...thread })),
  });
  const texts = textGuests().map(({ bytes, trap, phase }, index): Trap => {
    const name = `text ${index} ${trap}`;
    return { ...filtered(name, register(name, bytes), {}), expected: { trap, phase }, every: 1 };
  });
  const endless: Trap = {
    ...filtered('endless', register('endless', endlessGuest()), { deadlineMs: 1 }),
    ...{ expected: { trap: 'interrupt' }, every: 32 },
  };
  return [...cases, ...texts, endless];
}
