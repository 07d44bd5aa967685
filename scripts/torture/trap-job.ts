/** Guests trap in every way that there is, on this thread and off it, V8's own traps between them. */
import {
  GuestTrapError,
  SlotKey,
  WasmtimeFilterPlugin,
  WasmtimeObservabilityHook,
  WasmtimeRuntime,
  WasmtimeUpstreamDialect,
} from '../../src/index.ts';
import { started, upstream } from '../../test/support/samples.ts';
import { Random } from '../../test/wire/fuzz/random.ts';
import { body, caller, candidates, DEEDS, endlessGuest, order, plugin, request, textGuests } from './guests.ts';
import type { Job } from './jobs.ts';
import { promised } from './scenario.ts';
import { trapInV8 } from './v8-traps.ts';

interface Trap {
  readonly name: string;
  /** A deadline may pass in any phase. */
  readonly expected: { readonly trap: string; readonly phase?: string };
  /** Makes the call and returns what it threw or returned as an error. */
  spring(): unknown;
  springElsewhere(): Promise<unknown>;
  /** One in so many turns, because it takes its time. */
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
    const elsewhere: Promise<void>[] = [];
    while (done < units) {
      const trap = traps[turn++ % traps.length]!;
      if (random.below(trap.every) > 0) continue;
      trapInV8();
      if (random.below(16) === 0) elsewhere.push(trap.springElsewhere().then((error) => check(trap, error)));
      else check(trap, trap.spring());
      trapInV8();
      done++;
    }
    await Promise.all(elsewhere);
    return done;
  };
}

function check({ name, expected }: Trap, error: unknown): void {
  const cause = (error as Error | undefined)?.cause;
  const kept =
    cause instanceof GuestTrapError && cause.trap === expected.trap && cause.phase === (expected.phase ?? cause.phase);
  promised(kept, () => `${name} ended in ${error} (${cause instanceof GuestTrapError ? cause.trap : cause})`);
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
  const deeds = DEEDS.flatMap(([deed, trap]): Trap[] => {
    const every = deed.startsWith('overflow') ? 8 : 1;
    const shaped = [request({ body }), upstream, caller({ do: deed })] as const;
    const event = started(`do:${deed}`);
    return [
      {
        ...{ name: `filter ${deed}`, every, expected: { trap, phase: 'cc_lb_filter' } },
        spring: () => thrownBy(() => filter.filter(...order(deed))),
        springElsewhere: () => rejectedBy(filter.filterAsync(...order(deed), thread)),
      },
      {
        ...{ name: `shape ${deed}`, every, expected: { trap, phase: 'cc_lb_shape' } },
        spring: () => thrownBy(() => dialect.shape(...shaped)),
        springElsewhere: () => rejectedBy(dialect.shapeAsync(...shaped, thread)),
      },
      {
        ...{ name: `observe ${deed}`, every, expected: { trap, phase: 'cc_lb_observe' } },
        spring: () => hook.observe(event),
        springElsewhere: () => hook.observeAsync(event, thread),
      },
    ];
  });
  const filtered = (name: string, adapter: WasmtimeFilterPlugin, options: { deadlineMs?: number }) => ({
    name,
    spring: () => thrownBy(() => adapter.filter(request({ body }), caller(), candidates(1), options)),
    springElsewhere: () =>
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
  return [...deeds, ...texts, endless];
}
